"""Fewer and larger files, old ones removed, nothing that anybody still reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from kafka_log import NOON, TestLake, event, log_of
from medallion_spark.maintenance.run import maintain_lake
from medallion_spark.maintenance.tables import cold_partitions, maintain_table

BATCHES = 4
NOTHING = timedelta(0)


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


def changes(spark: SparkSession, path: str, after: int) -> int:
    reader = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", after + 1)
    return reader.load(path).where("_change_type = 'insert'").count()


@pytest.mark.parametrize(
    ("now", "hour", "is_cold"),
    [
        (datetime(2026, 11, 1, 14, 59, tzinfo=UTC), 13, False),
        (datetime(2026, 11, 1, 15, 0, tzinfo=UTC), 13, True),
        (datetime(2026, 11, 2, 0, 30, tzinfo=UTC), 23, False),
        (datetime(2027, 1, 1, 0, 0, tzinfo=UTC), 23, True),
    ],
)
def test_an_hour_is_cold_when_it_has_been_over_for_an_hour(
    spark: SparkSession, now: datetime, hour: int, is_cold: bool
) -> None:
    partition = spark.sql(f"SELECT 2026 AS year, 11 AS month, 1 AS day, {hour} AS hour")
    predicate = cold_partitions(("year", "month", "day", "hour"), now)
    assert predicate is not None
    assert partition.where(predicate).count() == int(is_cold)


def test_days_are_cold_after_midnight_and_tables_without_partitions_always() -> None:
    assert cold_partitions(("ingest_date",), NOON) == "ingest_date < DATE'2026-11-01'"
    assert cold_partitions((), NOON) is None


def test_cold_hours_become_one_file_and_hot_ones_stay(landed: TestLake) -> None:
    before = landed.rows("silver")
    upkeep = maintain_table(
        landed.spark, landed.paths.silver, now=NOON + timedelta(hours=2), retention=timedelta(days=7)
    )
    assert upkeep is not None
    assert (upkeep.files_before, upkeep.files_compacted, upkeep.files_after) == (8, BATCHES, 5)
    assert (upkeep.files_deleted, len(files(landed.paths.silver))) == (0, 9), "nothing is old enough"
    key = "_offset"
    assert sorted(landed.rows("silver"), key=lambda row: row[key]) == sorted(before, key=lambda row: row[key])


def test_files_of_no_version_and_of_old_ones_are_deleted(landed: TestLake) -> None:
    # A write that died left a file that no version names.
    orphan = (
        Path(landed.paths.silver) / "year=2026" / "month=11" / "day=1" / "hour=12" / "part-orphan.parquet"
    )
    orphan.write_bytes(b"half")
    upkeep = maintain_table(
        landed.spark, landed.paths.silver, now=datetime.now(UTC) + timedelta(days=1), retention=NOTHING
    )
    assert upkeep is not None
    assert upkeep.files_deleted == 2 * BATCHES + 1
    assert len(files(landed.paths.silver)) == upkeep.files_after == 2
    landed.check()


def test_what_gold_has_not_published_stays_readable(landed: TestLake) -> None:
    spark, path = landed.spark, landed.paths.silver
    published = landed.tables.silver.version() - 2
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    maintain_table(spark, path, now=tomorrow, retention=NOTHING, keep_from_version=published)
    assert changes(spark, path, published) == 4
    maintain_table(spark, path, now=tomorrow, retention=NOTHING)
    with pytest.raises(Exception, match=r"FILE_NOT_FOUND|FAILED_READ_FILE|does not exist"):
        changes(spark, path, published)


def test_nothing_is_deleted_when_the_log_forgot_the_published_version(landed: TestLake) -> None:
    upkeep = maintain_table(
        landed.spark, landed.paths.silver, now=datetime.now(UTC), retention=NOTHING, keep_from_version=999
    )
    assert upkeep is not None
    assert upkeep.files_deleted == 0
    assert upkeep.vacuum_skipped is not None
    assert "999" in upkeep.vacuum_skipped


def test_all_tables_are_maintained_and_the_stream_goes_on(landed: TestLake) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    done = maintain_lake(
        landed.spark, landed.paths, now=tomorrow, retention=timedelta(days=7), keep_from_version=1
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
