"""Data files that Arrow writes in tasks, as Spark and delta-rs read them once they are committed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from medallion_spark.lake import data_files
from medallion_spark.lake.data_files import DataFile, FileWriter, read_data_files
from medallion_spark.lake.tables import LakeTable
from medallion_spark.session.lake_access import LakeAccess

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("value", pa.binary()),
        ("name", pa.string()),
        ("charges", pa.decimal128(12, 2)),
        ("at", pa.timestamp("us", tz="UTC")),
        ("names", pa.list_(pa.string())),
        ("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
        ("day", pa.date32()),
        ("hour", pa.int32()),
    ]
)
ROWS: list[dict[str, Any]] = [
    {
        "id": number,
        "value": None if number == 3 else bytes([number, 0, 255]),
        "name": None if number == 4 else f"name {number} ä",
        "charges": Decimal(number) / 100,
        "at": NOON + timedelta(hours=number % 3, microseconds=number),
        "names": [] if number == 5 else ["a", "b"],
        "headers": None if number % 2 else [{"key": "k", "value": None}],
        "day": date(2026, 3, 1),
        "hour": 12 + number % 3,
    }
    for number in range(20)
]


def table_in(folder: Path, schema: pa.Schema = SCHEMA) -> LakeTable:
    access = LakeAccess(str(folder))
    table = LakeTable("things", str(folder / "things"), access, schema, ("day", "hour"), ("id", "at"))
    table.prepare()
    return table


def written(table: LakeTable) -> list[DataFile]:
    writer = FileWriter(table.layout)
    for start in range(0, len(ROWS), 7):
        writer.add(pa.Table.from_pylist(ROWS[start : start + 7], schema=SCHEMA))
    return list(writer.close())


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: int(row["id"]))


def test_what_is_committed_is_read_back_with_its_very_values(spark: SparkSession, tmp_path: Path) -> None:
    table = table_in(tmp_path)
    files = written(table)
    assert DeltaTable(table.path).to_pyarrow_table().num_rows == 0, "written is not committed"
    assert table.append(files, "app", 0).rows == 20
    by_arrow = DeltaTable(table.path).to_pyarrow_table().to_pylist()
    assert in_order(by_arrow) == ROWS
    by_spark = spark.read.format("delta").load(table.path).toArrow().to_pylist()
    assert in_order(by_spark) == ROWS


def test_each_partition_has_one_file_with_the_ends_of_its_columns(tmp_path: Path) -> None:
    files = written(table_in(tmp_path))
    assert {tuple(file.partition.items()) for file in files} == {
        (("day", "2026-03-01"), ("hour", str(hour))) for hour in (12, 13, 14)
    }
    assert len(files) == 3
    [first] = [file for file in files if file.partition["hour"] == "12"]
    assert json.loads(first.statistics) == {
        "numRecords": 7,
        "minValues": {"id": 0, "at": "2026-03-01T12:00:00.000000Z"},
        "maxValues": {"id": 18, "at": "2026-03-01T12:00:00.000018Z"},
        "nullCount": {"id": 0, "at": 0},
    }


def test_spark_skips_files_by_what_they_tell_to_the_microsecond(spark: SparkSession, tmp_path: Path) -> None:
    table = table_in(tmp_path)
    table.append(written(table), "app", 0)
    found = spark.read.format("delta").load(table.path)
    at = F.lit(NOON + timedelta(hours=1, microseconds=16))
    assert in_order(found.where(F.col("at") >= at).where("hour = 13").toArrow().to_pylist()) == [
        ROWS[16],
        ROWS[19],
    ]


def test_rows_beyond_the_buffer_go_to_more_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = table_in(tmp_path).layout
    writer = FileWriter(layout)
    monkeypatch.setattr(data_files, "MOST_BUFFERED", 1)
    for row in ROWS[:4]:
        writer.add(pa.Table.from_pylist([row], schema=SCHEMA))
        assert writer._buffered == []
    assert [file.rows for file in writer.close()] == [1, 1, 1, 1]


def test_a_column_that_a_file_lacks_is_read_as_null(spark: SparkSession, tmp_path: Path) -> None:
    table = table_in(tmp_path)
    files = written(table)
    table.schema = SCHEMA.append(pa.field("loyalty", pa.string()))
    read = read_data_files(spark, table.layout, [file.path for file in files], ["id", "loyalty", "charges"])
    assert in_order(read.toArrow().to_pylist()) == [
        {"id": row["id"], "loyalty": None, "charges": row["charges"]} for row in ROWS
    ]
