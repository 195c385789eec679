"""A table's log as the stream follows it: not listed for nothing, brought forward once, read from its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from medallion_contracts.errors import StreamError
from medallion_contracts.loader import load_dataset
from medallion_spark.lake import table_log
from medallion_spark.lake.commits import newest_commits
from medallion_spark.lake.data_files import FileWriter
from medallion_spark.lake.tables import QUARANTINE_SCHEMA, LakeTable, stream_tables
from medallion_spark.maintenance.tables import maintain_table
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream.ledger import Ledger, LedgerRow
from medallion_store.lake_paths import LakePaths

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    schema = pa.schema([("topic", pa.string()), ("number", pa.int64())])
    made = LakeTable(
        "things", str(tmp_path / "things"), LakeAccess(str(tmp_path)), schema, (), ("topic", "number")
    )
    made.prepare()
    return made


def append(table: LakeTable, batch_id: int, rows: int = 1) -> None:
    writer = FileWriter(table.layout)
    columns = {"topic": ["customers"] * rows, "number": list(range(rows))}
    writer.add(pa.table(columns, schema=table.schema))
    table.append(list(writer.close()), "query:things", batch_id)


def test_what_another_process_commits_is_seen_at_once(table: LakeTable) -> None:
    other = replace(table)
    for batch_id in range(3):
        append(table, batch_id)
        assert other.holds("query:things", batch_id)
        assert other.version() == table.version() == batch_id + 1


def test_a_look_lists_nothing_while_there_is_no_next_commit(
    table: LakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(table, 0)
    table.log()

    def refuse(_: DeltaTable) -> None:
        raise AssertionError("the log was listed")

    monkeypatch.setattr(DeltaTable, "update_incremental", refuse)
    assert table.version() == 1
    # Log cleanup may have removed the next commit of a log that nobody looked at for weeks.
    monkeypatch.setattr(table_log, "LIST_AGAIN_SECONDS", -1)
    with pytest.raises(AssertionError):
        table.log()


def test_a_commit_is_found_from_the_end_of_the_log(table: LakeTable) -> None:
    for batch_id in range(5):
        append(table, batch_id, rows=batch_id + 1)
    commit = table.commit_of("query:things", 3)
    assert (commit.version, commit.rows, len(commit.added)) == (4, 4, 1)
    assert table.committed("query:things", 3).rows == 4
    first = table.path + "/_delta_log/" + "0" * 20 + ".json"
    Path(first).unlink()
    assert [one.version for one in newest_commits(table.path, table.access, table.version())] == [
        5,
        4,
        3,
        2,
        1,
    ]
    with pytest.raises(StreamError, match="no commit of batch 7"):
        table.committed("query:things", 7)


def test_a_table_of_an_earlier_version_gets_its_properties_once(table: LakeTable) -> None:
    append(table, 0)
    newer = replace(table, statistics=("number",), properties=table_log.log_kept(timedelta(days=3)))
    newer.prepare()
    version = newer.version()
    configuration = newer.log().metadata().configuration
    assert configuration["delta.dataSkippingStatsColumns"] == "number"
    assert configuration["delta.logRetentionDuration"] == "interval 3 days"
    newer.prepare()
    assert newer.version() == version


def test_bronze_tells_of_which_topic_a_file_is(tmp_path: Path) -> None:
    tables = stream_tables(
        LakePaths(str(tmp_path), "customers"), load_dataset("customers"), LakeAccess(str(tmp_path))
    )
    assert "topic" in tables.bronze.statistics, "a replay's verdicts are found without a scan of bronze"
    assert tables.quarantine.schema == QUARANTINE_SCHEMA


def test_a_commit_of_the_stream_leaves_the_clean_up_of_the_log_to_maintenance(tmp_path: Path) -> None:
    access = LakeAccess(str(tmp_path))
    short = {"delta.logRetentionDuration": "interval 0 seconds", "delta.checkpointInterval": "2"}
    schema = pa.schema([("topic", pa.string()), ("number", pa.int64())])
    table = LakeTable("things", str(tmp_path / "things"), access, schema, (), ("number",), short)
    table.prepare()
    for batch_id in range(6):
        append(table, batch_id)
    log = Path(table.path, "_delta_log")
    assert len(list(log.glob("*.json"))) == 7
    maintain_table(access, table.path, now=NOW, retention=timedelta(days=7))
    assert len(list(log.glob("*.json"))) < 7
    assert replace(table).holds("query:things", 5)


def test_the_ledger_takes_its_newest_row_from_the_file_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(str(tmp_path), {})
    ledger.prepare()
    assert (ledger.carried().sequence, ledger.last_query(), ledger.last_batch("query")) == (0, None, None)
    for sequence in (1, 2, 3):
        ledger.append(ledger_row(sequence))
    oldest = sorted(tmp_path.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)[:2]
    for path in oldest:
        path.unlink()  # not read: it need not be there
    fresh = Ledger(str(tmp_path), {})
    assert (fresh.carried().sequence, fresh.last_query(), fresh.last_batch("query")) == (3, "query", 3)


def ledger_row(sequence: int) -> LedgerRow:
    numbers = dict.fromkeys(
        (
            *("read", "silver", "duplicate", "late", "rejected", "gaps", "lost"),
            *("with_unknown_fields", "key_mismatch"),
        ),
        0,
    )
    return LedgerRow(
        sequence=sequence,
        query_id="query",
        batch_id=sequence,
        contract_hash="0",
        started_at=NOW,
        committed_at=NOW,
        duration_seconds=1.0,
        is_derived=False,
        sources=(),
        rejected_by_reason={},
        unknown_fields={},
        commits=(),
        event_to_silver_p50=None,
        event_to_silver_p95=None,
        event_to_silver_max=None,
        **numbers,  # type: ignore[arg-type]  # names of counts
    )
