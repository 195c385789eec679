"""Maintenance of a table that no one writes to keeps what gold goes on from."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from lake_age import age
from medallion_spark.lake.table_log import log_kept
from medallion_spark.maintenance.tables import maintain_table
from medallion_spark.session.lake_access import LakeAccess
from medallion_store.delta_history import silver_state
from medallion_store.refresh_plan import Published, RefreshKind, plan


def test_the_published_commit_of_a_table_that_was_idle_for_months_is_still_there(tmp_path: Path) -> None:
    path = str(tmp_path / "silver")
    short = {"delta.checkpointInterval": "2", **log_kept(timedelta(days=7))}
    for number in range(5):
        row = pa.table({"customer_id": [str(number)]})
        write_deltalake(path, row, mode="append", configuration=short if number == 0 else None)
    state = silver_state(path, {}, None)
    assert state
    published = Published(1, state.table_id, state.version, "contract", commit_id=state.commit_id)
    age(path, timedelta(days=40))
    for checkpoint in Path(path, "_delta_log").glob("*.parquet"):
        os.utime(checkpoint, (time.time() - 40 * 86_400,) * 2)
    published = adopted(path, published)
    for day in range(4):
        maintain_table(
            LakeAccess(str(tmp_path)),
            path,
            now=datetime.now(UTC) + timedelta(days=day),
            retention=timedelta(days=7),
            keep_from_version=published.to_version,
        )
    assert DeltaTable(path).version() > published.to_version
    now = silver_state(path, {}, published)
    assert now
    assert plan(published, now, "contract").kind is RefreshKind.NONE


def adopted(path: str, published: Published) -> Published:
    """The publication of the commit as it is after it was made to look old."""
    state = silver_state(path, {}, Published(1, published.silver_table_id, published.to_version, "contract"))
    assert state
    return Published(
        1, published.silver_table_id, published.to_version, "contract", commit_id=state.published_commit_id
    )
