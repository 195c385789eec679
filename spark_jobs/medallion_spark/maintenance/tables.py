"""OPTIMIZE and VACUUM of one Delta table by delta-rs, beside whoever writes it.

delta-rs takes a second where Spark takes a minute, keeps to the retention it is given (Spark's VACUUM keeps
to the table's property alone), and its commit never takes the place of another one, also in a plain folder,
where Spark's looks first and renames then.

The stream only appends, and an append and a compaction do not exclude each other: Delta commits both. What
does conflict (a rebuild's overwrite, another maintenance run) is retried. Killed half-way: a compaction that
did not commit leaves files that no version names, and a later VACUUM removes them; a VACUUM that did not end
is simply done again, as it deletes only what no kept version needs.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from deltalake.exceptions import TableNotFoundError

from medallion_spark.lake.commit_retry import retried
from medallion_spark.lake.commits import newest_commits
from medallion_spark.lake.table_log import COMMITS_KEPT, TableLog
from medallion_spark.maintenance.compaction import compact
from medallion_spark.session.lake_access import LakeAccess
from medallion_store.lake_login import delta_storage_options

_MARGIN = timedelta(hours=1)
"""Between a commit's own clock and those of the files it names."""


ALL_FILES_ON = 6
"""The weekday (Sunday) when files of no version are looked for."""


@dataclass(frozen=True)
class TableMaintenance:
    """What was done to one table; `vacuum_skipped` says why nothing was deleted, if so."""

    table: str
    files_before: int
    files_after: int
    files_compacted: int
    files_deleted: int
    retention_hours: int
    vacuum_skipped: str | None
    attempts: int
    seconds: float


def maintain_table(
    access: LakeAccess,
    path: str,
    *,
    now: datetime,
    retention: timedelta,
    keep_from_version: int | None = None,
) -> TableMaintenance | None:
    """Compact what is no longer hot, then delete files that no version within the retention needs.

    Args:
        access: to the lake.
        path: of the table.
        now: UTC.
        retention: age from which a file that is no longer part of the table may be deleted, in whole hours.
        keep_from_version: the change feed after this version stays readable, however old it is.

    Returns:
        What was done; None when there is no such table yet.

    Raises:
        DamagedLog: a commit file of the table's log is cut short.
        CommitFailedError: another writer was faster, five times in a row.
    """
    started = time.monotonic()
    table = TableLog(path, delta_storage_options(access.login))
    try:
        log = table.current()
    except TableNotFoundError:
        return None
    before = log.get_add_actions().num_rows
    # Each look at the log lists it: only what was changed is looked at again.
    compacted, attempts = retried(lambda: compact(table.current(), now), path)
    log = table.current()
    after = log.get_add_actions().num_rows
    kept = _kept_age(access, path, keep_from_version, now)
    deleted, skipped = 0, None
    hours = math.ceil(max(retention, kept or retention) / timedelta(hours=1))
    if keep_from_version is not None and kept is None:
        skipped = f"the log no longer tells when version {keep_from_version} was written: publish first"
    else:
        # Once a week also files of no version, which a writer that died has left: all files are listed then.
        # Younger ones than the retention stay, so no commit under way loses its files.
        gone = log.vacuum(
            retention_hours=hours,
            dry_run=False,
            enforce_retention_duration=False,
            full=now.weekday() == ALL_FILES_ON,
        )
        deleted = len(gone)
    if kept is None or kept < COMMITS_KEPT:
        # Nothing else does (see `log_kept`). The changes after the version stay readable.
        log.cleanup_metadata()
    return TableMaintenance(
        table=path,
        files_before=before,
        files_after=after,
        files_compacted=compacted,
        files_deleted=deleted,
        retention_hours=hours,
        vacuum_skipped=skipped,
        attempts=attempts,
        seconds=round(time.monotonic() - started, 1),
    )


def _kept_age(access: LakeAccess, path: str, version: int | None, now: datetime) -> timedelta | None:
    """How old the files are that the version's own commit may have ended; None when the log does not tell."""
    if version is None:
        return None
    commit = next(newest_commits(path, access, version), None)
    return None if commit is None else now - commit.at + _MARGIN
