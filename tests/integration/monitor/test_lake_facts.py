"""What the monitor copies of the lake for the page: bounded, masked, and the same when it is done twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from medallion_contracts.errors import ServiceUnavailable
from medallion_contracts.loader import load_dataset
from medallion_ops.migrations.runner import migrate
from medallion_ops.monitor import lake_facts
from medallion_ops.monitor.lake_view import ledger_news
from medallion_spark.lake.tables import QUARANTINE_SCHEMA
from medallion_spark.stream.ledger import LEDGER_SCHEMA
from medallion_store.lake_paths import LakePaths
from medallion_store.secret import Secret

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
CUSTOMERS = load_dataset("customers")
MARK = "Qmark7731"


def ledger_row(sequence: int) -> dict[str, Any]:
    counts = {"read": 10, "silver": 7, "duplicate": 1, "late": 1, "rejected": 1, "gaps": 0, "lost": 0}
    return {
        "sequence": sequence,
        "committed_at": NOW - timedelta(minutes=10 - sequence),
        "rejected_by_reason": [("value:tenure", 1)],
        "sources": [],
        "event_to_silver_p95": 2.0,
        "duration_seconds": 1.5,
        **counts,
    }


def quarantined(offset: int, value: bytes | None) -> dict[str, Any]:
    return {
        "topic": "customers",
        "partition": 0,
        "offset": offset,
        "quarantined_at": NOW + timedelta(seconds=offset),
        "verdict": "rejected",
        "reasons": ["value:tenure"],
        "value": value,
    }


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def gold(postgres: str) -> str:
    migrate(Secret(postgres), CUSTOMERS)
    return postgres


def test_a_look_copies_new_batches_counts_and_masked_examples_and_twice_is_once(
    gold: str, tmp_path: Path
) -> None:
    paths = LakePaths(str(tmp_path), "customers")
    write_deltalake(
        paths.ledger, pa.Table.from_pylist([ledger_row(n) for n in range(1, 6)], schema=LEDGER_SCHEMA)
    )
    values = [
        json.dumps({"customer_id": MARK, "tenure": -7731, MARK: 1}).encode(),
        b"\xff\x00<script>" + MARK.encode() + b"x" * 10_000,
        b"[" * 100_000,
        None,
        MARK.encode(),
    ]
    for offset, value in enumerate(values):
        table = pa.Table.from_pylist([quarantined(offset, value)], schema=QUARANTINE_SCHEMA)
        write_deltalake(paths.quarantine, table, mode="append")
        for _ in range(2):
            with psycopg.connect(gold) as connection:
                news = ledger_news(paths.ledger, {}, None)
                lake_facts.record_batches(connection, "customers", news.rows, NOW)
                lake_facts.record_lake_rows(connection, paths, {}, NOW)
                lake_facts.record_gold_rows(connection, CUSTOMERS, NOW)
                lake_facts.record_samples(connection, CUSTOMERS, paths, {})

    assert rows(gold, "SELECT count(*), sum(read), min(sequence) FROM audit.micro_batches") == [(5, 50, 1)]
    assert rows(gold, "SELECT layer, row_count FROM audit.table_rows") == [("quarantine", 5)]
    samples = rows(gold, "SELECT record_offset, shape::text FROM audit.quarantine_samples ORDER BY 1")
    assert [offset for offset, _ in samples] == [2, 3, 4], "the newest few of a reason"
    assert "7731" not in str(samples)
    assert "qmark" not in str(samples).lower()


def test_rows_are_counted_on_from_the_last_look_and_all_of_them_once_a_day(
    gold: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = LakePaths(str(tmp_path), "customers")
    reads = 0
    count_all = lake_facts._all_rows

    def counted(*arguments: Any) -> tuple[int, int]:
        nonlocal reads
        found = count_all(*arguments)  # raises for a table that is not there yet
        reads += 1
        return found

    monkeypatch.setattr(lake_facts, "_all_rows", counted)

    def append(*offsets: int) -> None:
        table = pa.Table.from_pylist(
            [quarantined(offset, b"") for offset in offsets], schema=QUARANTINE_SCHEMA
        )
        write_deltalake(paths.quarantine, table, mode="append")

    def look(minutes: int) -> tuple[int, int]:
        """The rows as they are known after a look, and how often all were counted."""
        with psycopg.connect(gold) as connection:
            lake_facts.record_lake_rows(connection, paths, {}, NOW + timedelta(minutes=minutes))
        [(count, at)] = rows(gold, "SELECT row_count, counted_at FROM audit.table_rows")
        assert at == NOW + timedelta(minutes=minutes)
        return count, reads

    append(1, 2)
    assert look(0) == (2, 1)
    append(3)
    append(4, 5)
    assert look(2) == look(4) == (5, 1), "the commits since tell"
    DeltaTable(paths.quarantine).optimize.compact()
    assert look(6) == (5, 1), "the same rows in another file"
    DeltaTable(paths.quarantine).delete('"offset" = 1')
    assert look(8) == (4, 2), "rows went: all are counted"
    append(6)
    assert look(10) == (5, 2)
    assert look(24 * 60 + 8) == (5, 3)


def test_a_record_is_shown_by_the_shape_of_the_contracts_fields_alone() -> None:
    value = json.dumps({"customer_id": "Ab-1", "email": "a@b.co", "<i>": 1, "x": 2}).encode()
    assert lake_facts.shape(value, ["customer_id", "email"]) == {
        "customer_id": "xx-9",
        "email": "x@x.xx",
        "other fields": "2",
    }
    assert lake_facts.shape(None, []) == {"": "null"}


def test_batches_of_long_ago_are_dropped_from_the_copy(gold: str) -> None:
    with psycopg.connect(gold) as connection:
        lake_facts.record_batches(connection, "customers", [ledger_row(1)], NOW)
        lake_facts.record_batches(connection, "customers", [], NOW + lake_facts.KEPT)
    assert rows(gold, "SELECT count(*) FROM audit.micro_batches") == [(0,)]


def test_gold_is_counted_again_only_after_a_publication(gold: str) -> None:
    def counted(at: datetime) -> list[tuple[Any, ...]]:
        with psycopg.connect(gold) as connection:
            lake_facts.record_gold_rows(connection, CUSTOMERS, at)
        return rows(gold, "SELECT DISTINCT counted_at FROM audit.table_rows WHERE layer = 'gold'")

    assert counted(NOW) == []
    with psycopg.connect(gold) as connection:
        connection.execute(
            "INSERT INTO staging.manifests (set_id, dataset, run_id, kind, silver_table_id, to_version, "
            "tables, contract_hash) VALUES (1, 'customers', 'run', 'increment', 's', 4, '{}', 'h')"
        )
        connection.execute(
            "INSERT INTO gold.publications (dataset, run_id, set_id, kind, silver_table_id, to_version, "
            "rows, decision, written_at, published_at) "
            "VALUES ('customers', 'run', 1, 'increment', 's', 4, '{}', 'passed', %s, %s)",
            [NOW, NOW - timedelta(minutes=1)],
        )
    assert counted(NOW) == [(NOW,)]
    assert counted(NOW + timedelta(minutes=2)) == [(NOW,)]


def test_a_lake_that_does_not_answer_is_named(gold: str, tmp_path: Path) -> None:
    paths = LakePaths("abfs://lake@nowhere.dfs.core.windows.net", "customers")
    broken = {"azure_storage_account_name": "x", "azure_storage_account_key": "not base64"}
    with psycopg.connect(gold) as connection, pytest.raises(ServiceUnavailable, match="bronze/customers"):
        lake_facts.record_lake_rows(connection, paths, broken, NOW)
