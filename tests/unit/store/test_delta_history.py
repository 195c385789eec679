"""Which files the commits of an increment name."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from medallion_store.delta_history import added_files


def append(table: Path, *names: str) -> None:
    rows = pa.table({"name": pa.array(names, pa.string()), "place": pa.array(names, pa.string())})
    write_deltalake(table, rows, mode="append", partition_by=["place"])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Versions 0 to 3: two appends, files moved, another append."""
    table = tmp_path / "a table"
    append(table, "a")
    append(table, "b", "c d%20/é")
    DeltaTable(table).optimize.compact()
    append(table, "a")
    DeltaTable(table).optimize.compact()
    return table


def test_files_of_appends_are_named_as_they_lie_there_and_files_that_moved_rows_are_not(table: Path) -> None:
    found = added_files(str(table), {}, 0, 2)
    assert found is not None
    assert len(found) == 3
    assert all((table / name).is_file() for name in found)


def test_no_version_names_no_file(table: Path) -> None:
    assert added_files(str(table), {}, 2, 2) == []


def test_a_commit_that_is_gone_names_nothing(table: Path) -> None:
    (table / "_delta_log" / f"{1:020}.json").unlink()
    assert added_files(str(table), {}, 0, 2) is None
    assert added_files(str(table), {}, 2, 9) is None


@pytest.mark.parametrize(
    "file",
    [
        {"path": "part.parquet", "dataChange": True, "deletionVector": {"storageType": "u"}},
        {"path": "file:///elsewhere/part.parquet", "dataChange": True},
    ],
    ids=["deleted rows", "another folder"],
)
def test_files_that_take_more_than_reading_them_are_left_to_spark(
    table: Path, file: dict[str, object]
) -> None:
    version = DeltaTable(table).version() + 1
    (table / "_delta_log" / f"{version:020}.json").write_text(json.dumps({"add": file}))
    assert added_files(str(table), {}, version - 1, version) is None
