"""At start: tables that lost their newest commits are named, with a remedy that works."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable

from kafka_log import TestLake, event, log_of
from medallion_spark.lake.tables import LakeTable
from medallion_spark.rebuild.rebuild import AS_JUDGED, Rebuild
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream.batch import MicroBatches
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.recovery import recover, unfinished_batches
from medallion_spark.stream.startup_checks import damaged_tables, table_remedy


@pytest.fixture
def landed(lake: TestLake) -> TestLake:
    """A lake of three micro-batches, the last two with a row for each table."""
    for number in range(3):
        lake.send(log_of([event(f"c{number}", number), b"{"], first_offset=2 * number))
    return lake


def newest_commit(path: str) -> Path:
    return sorted(Path(path, "_delta_log").glob("*.json"))[-1]


def lose(table: LakeTable, how: str) -> None:
    """Take the newest commit of a table away, as a power cut or an older copy does."""
    if how == "empty file":
        newest_commit(table.path).write_bytes(b"")
    elif how == "cut behind its first line":
        first, *_ = newest_commit(table.path).read_bytes().splitlines(keepends=True)
        newest_commit(table.path).write_bytes(first)
    elif how == "restored":
        DeltaTable(table.path).restore(table.version() - 1)
    else:
        newest_commit(table.path).unlink()
    table._log.reopen()


@pytest.mark.parametrize("how", ["older copy", "empty file", "cut behind its first line", "restored"])
@pytest.mark.parametrize("name", ["bronze", "silver", "quarantine"])
def test_a_table_that_lost_its_newest_commit_is_named(landed: TestLake, name: str, how: str) -> None:
    assert damaged_tables(landed.tables, landed.ledger) == {}
    lose(getattr(landed.tables, name), how)
    damaged = damaged_tables(landed.tables, landed.ledger)
    assert list(damaged) == [name]
    remedy = table_remedy(damaged, "customers")
    assert getattr(landed.paths, name) in remedy
    assert "customers_rebuild" in remedy
    assert ("recover customers" in remedy) == (name == "bronze")


def test_another_table_that_has_grown_past_the_version_is_named(landed: TestLake) -> None:
    lose(landed.tables.silver, "older copy")
    table = DeltaTable(landed.tables.silver.path)
    table.optimize.compact()
    table.optimize.compact(target_size=1)
    DeltaTable(landed.tables.silver.path).alter.set_table_properties(
        {"delta.logRetentionDuration": "interval 9 days"}
    )
    landed.tables.silver._log.reopen()
    assert landed.tables.silver.version() >= 3
    assert list(damaged_tables(landed.tables, landed.ledger)) == ["silver"]


def test_maintenance_is_no_damage(landed: TestLake) -> None:
    for table in (landed.tables.bronze, landed.tables.silver, landed.tables.quarantine):
        DeltaTable(table.path).optimize.compact()
        DeltaTable(table.path).vacuum(dry_run=False, retention_hours=0, enforce_retention_duration=False)
        DeltaTable(table.path).create_checkpoint()
    assert damaged_tables(landed.tables, landed.ledger) == {}


@pytest.mark.parametrize("how", ["older copy", "empty file"])
def test_a_rebuild_mends_what_silver_lost(landed: TestLake, how: str) -> None:
    lose(landed.tables.silver, how)
    Rebuild(landed.spark, landed.dataset, LakeAccess(landed.paths.root), StreamOptions(), "run").run(
        AS_JUDGED
    )
    assert damaged_tables(landed.tables, landed.ledger) == {}
    landed.check()


def test_a_ledger_that_lost_rows_is_completed_from_bronze(landed: TestLake) -> None:
    before = sorted(landed.rows("ledger"), key=lambda row: row["sequence"])
    for _ in range(2):
        newest_commit(landed.paths.ledger).unlink()
    landed.ledger._table.reopen()  # as a new driver does
    assert unfinished_batches(landed.tables.bronze, landed.ledger) == [("query", 1), ("query", 2)]

    def batches_of(query_id: str) -> MicroBatches:
        landed.restart(query_id=query_id)
        return landed.batches

    landed.planned = None  # as without a checkpoint
    recover(landed.spark, landed.tables, landed.ledger, batches_of)
    after = sorted(landed.rows("ledger"), key=lambda row: row["sequence"])
    same = ("sequence", "batch_id", "read", "silver", "rejected", "sources", "commits", "gaps", "lost")
    assert [[row[name] for name in same] for row in after] == [[row[name] for name in same] for row in before]
    landed.check()
