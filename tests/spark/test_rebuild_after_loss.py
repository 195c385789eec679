"""What is left of a lake is enough: a rebuild brings back silver and quarantine, a recovery the ledger."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kafka_log import TestLake, event, log_of
from medallion_contracts.errors import MissingTable, StreamError
from medallion_contracts.model import Dataset
from medallion_spark.lake.silver_at_contract import at_todays_contract
from medallion_spark.lake.tables import LakeTable
from medallion_spark.rebuild.compare import Differences
from medallion_spark.rebuild.replacement import Replacement
from medallion_spark.stream.ledger_completion import complete_ledger
from medallion_spark.stream.preparation import refuse_missing
from medallion_spark.stream.recovery import unfinished_batches
from rebuilds import FIRST, SECOND, contents, rebuild, stricter


@pytest.fixture
def landed(lake: TestLake) -> TestLake:
    """A lake of two micro-batches with verdicts of every kind."""
    lake.send(FIRST)
    lake.send(SECOND)
    return lake


def forget(lake: TestLake, *tables: str) -> None:
    """Lose tables; the lake's own objects look again, as those of a new driver do."""
    for name in tables:
        shutil.rmtree(getattr(lake.paths, name))
        log = lake.ledger._table if name == "ledger" else getattr(lake.tables, name)._log
        log.reopen()


@contextmanager
def dies_at(target: object, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A driver that dies when it calls a method."""

    def dies(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as fault:
        fault.setattr(target, name, dies)
        with pytest.raises(InterruptedError):
            yield


def test_a_lost_silver_comes_back_while_a_batch_is_under_way(
    landed: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(landed)
    records = log_of([event("c9", 7), event("c1", -90), event("c3", 5)], first_offset=12)
    with dies_at(landed.ledger, "append", monkeypatch):
        landed.send(records)
    forget(landed, "silver")

    with pytest.raises(StreamError, match="as-judged first"):
        rebuild(landed, "judge-again", run_id="r0")
    rebuilt = rebuild(landed, "as-judged")

    assert rebuilt.silver_differences == Differences(missing=7)
    assert rebuilt.made_again == ("silver",)
    assert contents(landed)["silver"] == before["silver"], "the batch under way is the stream's"
    landed.restart()
    landed.send(records, batch_id=2)
    landed.send(log_of([event("c9", 7), event("c10", 8)], first_offset=15))
    assert landed.verdicts()["customers", 0, 15] == ("duplicate", ())
    landed.check()
    assert rebuild(landed, "as-judged", run_id="r2").silver_differences == Differences()


def test_a_rebuild_of_lost_tables_that_was_killed_is_done_again(
    landed: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(landed)
    forget(landed, "silver", "quarantine")
    overwrite = Replacement.overwrite

    def dies_at_quarantine(self: Replacement, table: LakeTable, rows: Any) -> None:
        if table.name == "quarantine":
            raise InterruptedError
        overwrite(self, table, rows)

    with monkeypatch.context() as fault:
        fault.setattr(Replacement, "overwrite", dies_at_quarantine)
        with pytest.raises(InterruptedError):
            rebuild(landed, "as-judged")
    with pytest.raises(MissingTable, match="quarantine"):
        refuse_missing(landed.tables, landed.ledger, "customers")
    rebuilt = rebuild(landed, "as-judged")
    assert contents(landed) == before
    assert rebuilt.silver_differences == Differences(missing=7), "compared with what the run found first"
    assert rebuilt.quarantine_differences == Differences(missing=5)
    assert landed.tables.silver.log().metadata().configuration == landed.tables.silver.configuration


def test_a_rebuild_without_bronze_names_what_is_gone(landed: TestLake) -> None:
    forget(landed, "bronze")
    with pytest.raises(MissingTable, match="bronze/customers is gone: put its folder back"):
        rebuild(landed, "as-judged")
    assert not Path(landed.paths.bronze).exists()


def test_a_ledger_is_made_from_bronze_as_it_was(landed: TestLake, monkeypatch: pytest.MonkeyPatch) -> None:
    landed.restart(on_data_loss="count")
    landed.log.first_kept = {0: 13}  # one record expired before it was read, the offset behind it held none
    landed.send(log_of([event("c12", 8)], first_offset=14), planned={("customers", 0): range(14, 20)})
    landed.clock -= timedelta(hours=3)  # a new driver on a host whose clock is behind
    landed.restart(query_id="next")
    landed.send(log_of([event("c9", 7), b"[", event("c1", 0)], first_offset=20), batch_id=0)
    complete_ledger(landed.spark, landed.dataset, landed.tables, landed.ledger)
    before = landed.rows("ledger")
    forget(landed, "ledger")

    assert complete_ledger(landed.spark, landed.dataset, landed.tables, landed.ledger) == 3
    finish(landed)

    kept = ("sequence", "query_id", "batch_id", "sources", "read", "silver", "duplicate", "late", "rejected")
    assert [row["lost"] for row in sorted(before, key=lambda row: row["sequence"])] == [0, 0, 1, 0]
    names = (
        *kept,
        "gaps",
        "lost",
        "rejected_by_reason",
        "with_unknown_fields",
        "key_mismatch",
        "contract_hash",
    )
    assert facts(landed.rows("ledger"), names) == facts(before, names)
    assert complete_ledger(landed.spark, landed.dataset, landed.tables, landed.ledger) == 0
    landed.restart(query_id="next")
    landed.send(log_of([event("c11", 8)], first_offset=23), batch_id=1)
    landed.check()


def finish(lake: TestLake) -> None:
    """Complete the newest batch from bronze, as a recovery does."""
    for query_id, batch_id in unfinished_batches(lake.tables.bronze, lake.ledger):
        lake.restart(query_id=query_id)
        lake.batches.process(lake.spark.range(0), batch_id)


LAST_SEEN = ("last_offset", "last_timestamp_ms", "last_hash", "end_offset")
"""What identifies a log: the ledger's next row has it again."""


def facts(rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[list[Any]]:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: one for name, one in value.items() if name not in LAST_SEEN}
        return sorted(map(plain, value), key=str) if isinstance(value, list) else value

    return [[plain(row[name]) for name in names] for row in sorted(rows, key=lambda row: row["sequence"])]


def test_a_ledger_older_than_bronze_gets_the_rows_it_lacks(landed: TestLake, tmp_path: Path) -> None:
    shutil.copytree(landed.paths.ledger, tmp_path / "older")
    for offset in (12, 13, 14):
        landed.send(log_of([event(f"n{offset}", 9)], first_offset=offset))
    before = landed.rows("ledger")
    forget(landed, "ledger")
    shutil.copytree(tmp_path / "older", landed.paths.ledger)

    assert complete_ledger(landed.spark, landed.dataset, landed.tables, landed.ledger) == 2
    finish(landed)

    names = ("sequence", "batch_id", "sources", "read", "silver", "duplicate", "late", "rejected", "gaps")
    assert facts(landed.rows("ledger"), names) == facts(before, names)


def test_a_version_accepted_again_by_replay_is_in_silver_once(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = log_of([event("c1", 0), event("c2", 0, tenure=40)])
    with dies_at(lake.tables.silver, "append", monkeypatch):
        lake.send(records)
    lake.restart(dataset=stricter(lake.dataset))
    lake.send(records, batch_id=0)
    assert [row["reasons"] for row in lake.rows("quarantine")] == [["contract_changed"]]
    lake.restart()
    lake.send(log_of([event("c2", 0, tenure=40)], topic="customers_replay"), batch_id=1)
    before = contents(lake)
    assert len(before["silver"]) == 2

    rebuilt = rebuild(lake, "as-judged")

    assert contents(lake) == before, "the accepted replay stays, the record before it stays in quarantine"
    assert rebuilt.silver_differences == rebuilt.quarantine_differences == Differences()
    changes = rebuild(lake, "judge-again", run_id="r2").verdict_changes
    assert changes == [{"before": "silver", "after": "duplicate", "count": 1}]
    versions = [(row["customer_id"], row["updated_at"]) for row in lake.rows("silver")]
    assert len(versions) == len(set(versions)) == 2
    lake.check()


def test_a_bronze_that_holds_a_record_twice_changes_nothing(landed: TestLake) -> None:
    before, version = contents(landed), landed.tables.silver.version()
    bronze = landed.spark.read.format("delta").load(landed.paths.bronze)
    bronze.where("offset = 2").write.format("delta").mode("append").save(landed.paths.bronze)
    with pytest.raises(StreamError, match=r"holds 1 records more than once"):
        rebuild(landed, "as-judged")
    assert contents(landed) == before
    assert landed.tables.silver.version() == version


def older(dataset: Dataset) -> Dataset:
    """The contracts before `email` came, when an absent gender was `Unknown` by another word."""
    columns = tuple(
        replace(column, default="Not said") if column.name == "gender" else column
        for column in dataset.events.columns
        if column.name != "email"
    )
    silver = tuple(column for column in dataset.silver.columns if column.name != "email")
    return replace(
        dataset,
        events=replace(dataset.events, columns=columns, fingerprint="0" * 64),
        silver=replace(dataset.silver, columns=silver),
    )


def test_rows_of_an_older_contract_are_what_todays_makes_of_them(lake: TestLake, tmp_path: Path) -> None:
    before = TestLake(lake.spark, tmp_path / "old", older(lake.dataset))
    absent: dict[str, object] = {"email": ..., "total_charges": ...}
    sent = [event("c1", 0, **absent), event("c2", 0, gender=..., **absent)]
    before.send(log_of(sent))
    today = TestLake(lake.spark, tmp_path / "old", lake.dataset)
    silver = lake.spark.read.format("delta").load(today.paths.silver)
    seen = {row["customer_id"]: row for row in at_todays_contract(silver, lake.dataset).collect()}
    default = lake.dataset.events.column("email").default
    assert {row["email"] for row in seen.values()} == {default}
    assert seen["c1"]["defaulted_fields"] == ["total_charges", "email"]
    assert seen["c2"]["defaulted_fields"] == ["gender", "total_charges", "email"]
    assert seen["c2"]["gender"] == lake.dataset.events.column("gender").default

    today.send(log_of(sent, first_offset=2), batch_id=1)

    assert today.verdicts()["customers", 0, 2] == ("duplicate", ())
    assert today.verdicts()["customers", 0, 3] == ("duplicate", ()), "and no conflict"
    assert rebuild(today, "as-judged").silver_differences == Differences()
    names = ("customer_id", "email", "gender", "total_charges", "defaulted_fields")
    stored = {row["customer_id"]: [row[name] for name in names] for row in today.rows("silver")}
    assert stored == {key: [row[name] for name in names] for key, row in seen.items()}
    today.check()
