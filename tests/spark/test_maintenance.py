"""Fewer and larger files, old ones removed, nothing that anybody still reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from kafka_log import NOON, TestLake, event, log_of
from lake_age import age
from medallion_spark.maintenance.maintain import maintain_lake
from medallion_spark.maintenance.tables import ALL_FILES_ON, TableMaintenance, maintain_table

BATCHES = 4
NOTHING = timedelta(0)
A_WEEK = timedelta(days=7)


@pytest.fixture
def landed(lake: TestLake) -> TestLake:
    """Several micro-batches into two hours: 12 and 13."""
    lake.restart(lateness="accept")
    for number in range(BATCHES):
        lake.send(
            log_of(
                [event(f"c{number}", number), event(f"d{number}", 60 + number), b"{"], first_offset=3 * number
            ),
            batch_id=number,
        )
    return lake


def files(path: str) -> list[Path]:
    return [file for file in Path(path).rglob("*.parquet") if "_delta_log" not in file.parts]


def maintain(
    lake: TestLake, now: datetime, retention: timedelta = NOTHING, keep_from_version: int | None = None
) -> TableMaintenance:
    upkeep = maintain_table(
        lake.access,
        lake.paths.silver,
        now=now,
        retention=retention,
        keep_from_version=keep_from_version,
    )
    assert upkeep is not None
    return upkeep


def changes(spark: SparkSession, path: str, after: int) -> int:
    reader = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", after + 1)
    return reader.load(path).where("_change_type = 'insert'").count()


def test_cold_hours_become_one_file_and_hot_ones_stay(landed: TestLake) -> None:
    before = landed.rows("silver")
    upkeep = maintain(landed, NOON + timedelta(hours=2), A_WEEK)
    assert (upkeep.files_before, upkeep.files_compacted, upkeep.files_after) == (8, BATCHES, 5)
    assert (upkeep.files_deleted, len(files(landed.paths.silver))) == (0, 9), "nothing is old enough"
    key = "_offset"
    assert sorted(landed.rows("silver"), key=lambda row: row[key]) == sorted(before, key=lambda row: row[key])


def test_a_repeat_is_found_in_a_compacted_file_although_its_statistics_are_cut(lake: TestLake) -> None:
    # Statistics of compacted files end at whole milliseconds: 12:00:00.000 here.
    last = event("c", updated_at="2026-11-01T12:00:00.000999Z")
    for number, one in enumerate([event("a"), last]):
        lake.send(log_of([one], first_offset=number), batch_id=number)
    assert maintain(lake, NOON + timedelta(days=1), A_WEEK).files_compacted == 2
    row = lake.send(log_of([last], first_offset=2), batch_id=2)
    assert row is not None
    assert (row.duplicate, row.silver) == (1, 0)


def test_files_of_no_version_and_of_old_ones_are_deleted(landed: TestLake) -> None:
    # A write that died left a file that no version names.
    orphan = (
        Path(landed.paths.silver) / "year=2026" / "month=11" / "day=1" / "hour=12" / "part-orphan.parquet"
    )
    orphan.write_bytes(b"half")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    sunday = tomorrow + timedelta(days=(ALL_FILES_ON - tomorrow.weekday()) % 7)
    upkeep = maintain(landed, sunday - timedelta(days=1) if sunday > tomorrow else sunday + timedelta(days=1))
    assert upkeep.files_deleted == 2 * BATCHES, "those of old versions"
    assert orphan.exists()
    upkeep = maintain(landed, sunday)
    assert not orphan.exists(), "once a week those of no version"
    assert len(files(landed.paths.silver)) == upkeep.files_after == 2
    landed.check()


def test_what_gold_has_not_published_stays_readable_however_old_it_is(landed: TestLake) -> None:
    spark, path = landed.spark, landed.paths.silver
    published = landed.tables.silver.version() - 2
    now = datetime.now(UTC)
    maintain(landed, now + timedelta(days=1), A_WEEK)  # compacted: the files below are of old versions only
    age(path, timedelta(days=30))
    upkeep = maintain(landed, now, A_WEEK, keep_from_version=published)
    assert upkeep.retention_hours > 30 * 24
    assert changes(spark, path, published) == 4
    upkeep = maintain(landed, now, A_WEEK)
    assert (upkeep.retention_hours, upkeep.files_deleted) == (7 * 24, 2 * BATCHES)
    with pytest.raises(Exception, match=r"FILE_NOT_FOUND|FAILED_READ_FILE|does not exist"):
        changes(spark, path, published)


def test_nothing_is_deleted_when_the_log_forgot_the_published_version(landed: TestLake) -> None:
    upkeep = maintain(landed, datetime.now(UTC), keep_from_version=999)
    assert upkeep.files_deleted == 0
    assert upkeep.vacuum_skipped is not None
    assert "999" in upkeep.vacuum_skipped


def test_all_tables_are_maintained_and_the_stream_goes_on(landed: TestLake) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    done = maintain_lake(
        landed.access,
        landed.paths,
        now=tomorrow,
        retention=A_WEEK,
        keep_from_version=1,
    )
    assert [upkeep.table for upkeep in done] == [
        landed.paths.bronze,
        landed.paths.silver,
        landed.paths.quarantine,
        landed.paths.ledger,
    ]
    landed.restart(lateness="accept")
    records = log_of([event("c0", 0), event("c0", 64)], first_offset=3 * BATCHES)
    row = landed.send(records, batch_id=BATCHES)
    assert row is not None
    assert (row.duplicate, row.silver) == (1, 1)
    landed.check()
