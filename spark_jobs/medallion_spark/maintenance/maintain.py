"""Maintenance of all lake tables of a dataset."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from medallion_spark.maintenance.tables import TableMaintenance, maintain_table
from medallion_spark.session.lake_access import LakeAccess
from medallion_store.lake_paths import LakePaths

_log = logging.getLogger(__name__)


def maintain_lake(
    access: LakeAccess,
    paths: LakePaths,
    *,
    now: datetime,
    retention: timedelta,
    keep_from_version: int | None,
) -> list[TableMaintenance]:
    """Maintain bronze, silver, quarantine, ledger and progress, those that exist.

    Args:
        access: to the lake.
        paths: of the dataset.
        now: UTC.
        retention: see `maintain_table`.
        keep_from_version: the silver version that gold published last.
    """
    done = []
    for path in (paths.bronze, paths.silver, paths.quarantine, paths.ledger, paths.progress):
        kept = keep_from_version if path == paths.silver else None
        upkeep = maintain_table(access, path, now=now, retention=retention, keep_from_version=kept)
        if upkeep is None:
            _log.info("%s: no table yet", path)
            continue
        done.append(upkeep)
        _log.info(
            "%s: %d files, now %d (%d compacted); %d old files deleted, kept for %d hours; %.1f s",
            path,
            upkeep.files_before,
            upkeep.files_after,
            upkeep.files_compacted,
            upkeep.files_deleted,
            upkeep.retention_hours,
            upkeep.seconds,
        )
        if upkeep.vacuum_skipped:
            _log.warning("%s: nothing deleted: %s", path, upkeep.vacuum_skipped)
    return done
