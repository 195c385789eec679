"""What a micro-batch may cost: bounded slices to Python, files opened by need, one file an hour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from kafka_log import Record, TestLake, event, log_of
from medallion_contracts.loader import load_dataset
from medallion_contracts.model import Dataset
from medallion_spark.lake import data_files
from medallion_spark.lake.data_files import FileWriter
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream import batch_writer, table_writes
from medallion_spark.stream.table_writes import TableWrites
from medallion_spark.verdicts import repeat_search

DATASET: Dataset = load_dataset("customers")
HOURS = 70


def opened(lake: TestLake, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of silver that look-ups open from now on."""
    paths: list[str] = []
    read = data_files.read_data_files

    def reading(spark: SparkSession, layout: Any, names: Sequence[str], *rest: Any, **more: Any) -> Any:
        paths.extend(names)
        return read(spark, layout, names, *rest, **more)

    monkeypatch.setattr(repeat_search, "read_data_files", reading)
    return paths


def test_a_batch_opens_only_files_it_does_not_know_or_repeats(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = opened(lake, monkeypatch)
    lake.restart(lateness="accept")
    lake.send(log_of([event(f"a{n}", n) for n in range(5)] + [event("far", 300)]))
    lake.send(log_of([event(f"b{n}", n) for n in range(5)], first_offset=6))
    assert paths == [], "what this driver wrote it knows"
    row = lake.send(log_of([event("b1", 1), event("new", 2)], first_offset=11))
    assert row is not None
    assert (row.silver, row.duplicate, len(paths)) == (1, 1, 1)
    lake.restart(lateness="accept")
    paths.clear()
    row = lake.send(log_of([event("b2", 2), event("newer", 2)], first_offset=13))
    assert row is not None
    assert (row.silver, row.duplicate) == (1, 1)
    assert len(set(paths)) == 3, "another driver looks into the files of that hour, once"
    paths.clear()
    lake.send(log_of([event("newest", 3)], first_offset=15))
    assert paths == []
    lake.check()


def test_many_hours_have_one_file_each_and_are_looked_up_one_by_one(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert HOURS > table_writes.MANY_PARTITIONS
    lake.restart(lateness="accept")
    history = [event(f"c{n % 50}", -60 * (n * 37 % HOURS) + n % 7) for n in range(4 * HOURS)]
    records = log_of(history[: len(history) // 2]) + log_of(history[len(history) // 2 :], partition=1)
    row = lake.send(records)
    assert row is not None
    silver = DeltaTable(lake.paths.silver)
    hours = {tuple(r[name] for name in ("year", "month", "day", "hour")) for r in lake.rows("silver")}
    assert len(silver.file_uris()) == len(hours) >= HOURS
    lake.check()
    lake.restart(lateness="accept")
    paths = opened(lake, monkeypatch)
    again = lake.send(log_of(history[:3], first_offset=len(history)))
    assert again is not None
    assert again.duplicate == 3
    assert len(set(paths)) <= 3, "of all the hours only those of the batch are looked into"


def test_a_derived_batch_reads_its_own_files_also_when_maintenance_has_joined_them(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.send(log_of([event("a", 0), b"{"]))
    second = log_of([event("b", 1), event("a", 0), b"["], first_offset=2)

    def dying(self: TableWrites, part: Any, *rest: Any) -> Any:
        if part.table.name == "quarantine":
            raise InterruptedError
        return append(self, part, *rest)

    append = TableWrites._append
    with monkeypatch.context() as patch:
        patch.setattr(TableWrites, "_append", dying)
        with pytest.raises(InterruptedError):
            lake.send(second)
    for table in (lake.paths.bronze, lake.paths.silver):
        DeltaTable(table).optimize.compact()
    lake.restart()
    row = lake.send(second, batch_id=1)
    assert row is not None
    assert row.is_derived
    assert (row.silver, row.duplicate, row.rejected) == (1, 1, 1)
    lake.check()


@pytest.mark.parametrize("slice_bytes", [1, 3_000])
def test_verdicts_do_not_depend_on_slices(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_bytes: int
) -> None:
    minutes = [0, 30, 20, 19.9, 31, 21, 20.9, 0, 45, 34]
    log: list[Record] = log_of(
        [
            event(f"c{n % 3}", minute, tenure=n % 2, noise="x" * 400 * (n % 3))
            for n, minute in enumerate(minutes)
        ]
        + [event("c1", 30, tenure=1), event("c1", 30, tenure=0), b"{", event("c2", 45, tenure=0, odd=1)]
    )
    whole = TestLake(spark, tmp_path / "whole", DATASET)
    one = whole.send(log)
    before = spark.conf.get("spark.sql.execution.arrow.maxBytesPerBatch")
    monkeypatch.setattr(batch_writer, "ARROW_BYTES", slice_bytes)
    monkeypatch.setattr(data_files, "MOST_BUFFERED", slice_bytes)
    spark.conf.set("spark.sql.execution.arrow.maxBytesPerBatch", str(slice_bytes))
    try:
        sliced = TestLake(spark, tmp_path / "sliced", DATASET)
        other = sliced.send(log)
    finally:
        spark.conf.set("spark.sql.execution.arrow.maxBytesPerBatch", str(before))
    assert one is not None
    assert other is not None
    assert sliced.verdicts() == whole.verdicts()
    assert {verdict for verdict, _ in whole.verdicts().values()} == {
        "silver",
        "duplicate",
        "late",
        "rejected",
    }
    assert (other.unknown_fields, other.rejected_by_reason) == (one.unknown_fields, one.rejected_by_reason)
    assert other.sources == one.sources
    sliced.check()


def test_values_of_a_megabyte_are_buffered_and_encoded_a_few_at_a_time(tmp_path: Path) -> None:
    schema = pa.schema([("value", pa.binary())])
    writer = FileWriter(data_files.FileLayout(str(tmp_path), LakeAccess(str(tmp_path)), schema, (), ()))
    pool = pa.default_memory_pool()
    pool.release_unused()
    start, most = pool.bytes_allocated(), 0
    for number in range(200):
        writer.add(pa.table({"value": pa.array([bytes([number]) * 1_000_000], pa.binary())}))
        most = max(most, pool.bytes_allocated() - start)
    files = writer.close()
    assert sum(file.rows for file in files) == 200
    assert most <= 2 * data_files.MOST_BUFFERED
    with (tmp_path / files[0].path).open("rb") as content:
        sizes = [len(rows) for rows in data_files._rows_of(pa.PythonFile(content), ["value"])]
    assert sum(sizes) == files[0].rows
    assert max(sizes) <= data_files.MOST_BUFFERED // 4 // 1_000_000
