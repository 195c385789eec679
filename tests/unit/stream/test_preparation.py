"""A lake table that is gone while others hold rows is refused, never made again in silence."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from medallion_contracts.errors import MissingTable
from medallion_contracts.loader import load_dataset
from medallion_spark.lake.tables import StreamTables, stream_tables
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream.ledger import LEDGER_SCHEMA, Ledger
from medallion_spark.stream.ledger_completion import in_order
from medallion_spark.stream.preparation import prepare_lake
from medallion_spark.stream.progress import ProgressTable
from medallion_store.lake_paths import LakePaths

DATASET = load_dataset("customers")


class Lake:
    """The tables of a lake in a folder, as a driver that starts sees them."""

    def __init__(self, folder: Path) -> None:
        self.access = LakeAccess(str(folder))
        self.paths = LakePaths(str(folder), DATASET.name)

    def tables(self) -> StreamTables:
        return stream_tables(self.paths, DATASET, self.access)

    def prepare(self, *, recovers: bool = False) -> None:
        ledger, progress = Ledger(self.paths.ledger, {}), ProgressTable(self.paths.progress, {})
        prepare_lake(self.tables(), ledger, progress, DATASET.name, recovers=recovers)

    def there(self) -> set[str]:
        names = ("bronze", "silver", "quarantine", "ledger", "progress")
        return {name for name in names if DeltaTable.is_deltatable(getattr(self.paths, name))}

    def fill(self) -> None:
        """Give every table a row."""
        schemas = {table.path: table.schema for table in self.tables()} | {self.paths.ledger: LEDGER_SCHEMA}
        for path, schema in schemas.items():
            row = {field.name: 1 for field in schema if pa.types.is_integer(field.type)}
            write_deltalake(path, pa.Table.from_pylist([row], schema), mode="append")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def test_an_empty_lake_gets_its_tables_also_after_a_kill_between_two(lake: Lake) -> None:
    lake.prepare()
    everything = lake.there()
    assert everything == {"bronze", "silver", "quarantine", "ledger", "progress"}
    shutil.rmtree(lake.paths.silver)
    shutil.rmtree(lake.paths.ledger)
    lake.prepare()
    assert lake.there() == everything


@pytest.mark.parametrize(
    ("table", "remedy"),
    [
        ("bronze", "from a backup"),
        ("silver", r"trigger customers_rebuild .*gold after it"),
        ("quarantine", "trigger customers_rebuild"),
        ("ledger", "medallion_ops.control recover customers"),
    ],
)
def test_a_table_that_is_gone_beside_others_with_rows_is_named_with_its_remedy(
    lake: Lake, table: str, remedy: str
) -> None:
    lake.prepare()
    lake.fill()
    lake.prepare()
    shutil.rmtree(getattr(lake.paths, table))
    before = lake.there()
    with pytest.raises(MissingTable, match=rf"{table}/customers is gone: .*{remedy}"):
        lake.prepare()
    assert lake.there() == before, "nothing was created in its place"


def test_all_that_is_gone_is_named_at_once(lake: Lake) -> None:
    lake.prepare()
    lake.fill()
    for table in ("silver", "ledger"):
        shutil.rmtree(getattr(lake.paths, table))
    with pytest.raises(MissingTable, match=r"silver/customers is gone.*ledger/customers is gone"):
        lake.prepare()


def test_a_recovery_may_lack_the_ledger_alone(lake: Lake) -> None:
    lake.prepare()
    lake.fill()
    shutil.rmtree(lake.paths.ledger)
    lake.prepare(recovers=True)
    assert "ledger" not in lake.there(), "it is made from bronze, in one commit"
    shutil.rmtree(lake.paths.bronze)
    with pytest.raises(MissingTable, match="bronze"):
        lake.prepare(recovers=True)


def test_figures_that_are_gone_are_begun_again_and_said_so(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    lake.prepare()
    lake.fill()
    shutil.rmtree(lake.paths.progress)
    with caplog.at_level(logging.WARNING):
        lake.prepare()
    assert "no record is" in caplog.text
    assert "progress" in lake.there()


def batch(partition: int, first: int, at: int) -> dict[str, Any]:
    return {"topic": "customers", "partition": partition, "smallest_offset": first, "at": at}


def test_batches_follow_their_offsets_whatever_the_clocks_said() -> None:
    batches = {
        ("b", 0): [batch(0, 20, at=5)],
        ("a", 1): [batch(0, 10, at=90)],
        ("a", 0): [batch(0, 0, at=100), batch(1, 0, at=100)],
    }
    assert in_order(batches) == [("a", 0), ("a", 1), ("b", 0)]
    assert in_order({("d", 0): [batch(1, 3, at=2)], ("c", 0): [batch(0, 9, at=1)]}) == [("c", 0), ("d", 0)]
