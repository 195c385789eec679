"""A driver that dies between two commits, and the next one that takes the batch up."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kafka_log import Record, TestLake, event, log_of
from medallion_contracts.errors import LeaseError, StreamError
from medallion_contracts.model import Dataset
from medallion_spark.lake.tables import LakeTable
from medallion_spark.stream.table_writes import TableWrites

FIRST = log_of([event("c1", 20), event("c2", 25)])
SECOND = log_of(
    [event("c1", 20), event("c1", 30), event("c3", 0), event("c2", 25, tenure=9), event("c4", 31), b"{"],
    first_offset=2,
)
VERDICTS = {
    0: "silver",
    1: "silver",
    2: "duplicate",
    3: "silver",
    4: "late",
    5: "rejected",
    6: "silver",
    7: "rejected",
}


class _Died(Exception):
    """Stands for the end of the driver."""


def send_and_die(lake: TestLake, records: list[Record], point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process the records; the driver's end comes right before the commit of `point`."""
    with monkeypatch.context() as patch:
        _die_at(lake, point, patch)
        with pytest.raises(_Died):
            lake.send(records)


def _die_at(lake: TestLake, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if point == "ledger":

        def refuse(*_: Any) -> None:
            raise _Died

        monkeypatch.setattr(lake.ledger, "append", refuse)
        return
    append = TableWrites._append

    def dying(self: TableWrites, part: Any, *rest: Any) -> Any:
        if part.table.name == point:
            raise _Died
        return append(self, part, *rest)

    monkeypatch.setattr(TableWrites, "_append", dying)


@pytest.mark.parametrize("point", ["bronze", "silver", "quarantine", "ledger"])
def test_the_next_driver_completes_the_batch(
    lake: TestLake, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.send(FIRST)
    send_and_die(lake, SECOND, point, monkeypatch)
    lake.restart()
    row = lake.send(SECOND, batch_id=1)
    assert row is not None
    assert row.is_derived == (point != "bronze")
    assert {offset: verdict for (_, _, offset), (verdict, _) in lake.verdicts().items()} == VERDICTS
    lake.check()
    assert [entry["batch_id"] for entry in sorted(lake.rows("ledger"), key=lambda r: r["sequence"])] == [0, 1]
    silver = {r["_offset"]: r for r in lake.rows("silver")}
    assert silver[3]["_processed_at"] == lake.clock, "derived rows are those the first driver would have made"


def test_a_batch_that_the_ledger_has_is_done(lake: TestLake) -> None:
    lake.send(FIRST)
    versions = [lake.tables.bronze.version(), lake.tables.silver.version()]
    lake.restart()
    assert lake.send(FIRST, batch_id=0) is None
    assert [lake.tables.bronze.version(), lake.tables.silver.version()] == versions


def test_a_checkpoint_older_than_the_ledger_takes_no_record_for_done(lake: TestLake) -> None:
    lake.send(FIRST)
    lake.send(SECOND)
    later = log_of([event("c5", 32)], first_offset=8)
    for batch_id, records in ((0, FIRST), (1, [*SECOND, *later])):
        lake.restart()
        with pytest.raises(StreamError, match=r"older than the ledger .* --recover-from-ledger"):
            lake.send(records, batch_id=batch_id)
    lake.restart()
    assert lake.send(SECOND, batch_id=1) is None
    lake.send(later, batch_id=2)
    lake.check()
    assert ("customers", 0, 8) in lake.verdicts()


def test_a_batch_that_bronze_has_takes_no_other_records_for_its_own(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.send(FIRST)
    send_and_die(lake, SECOND, "ledger", monkeypatch)
    lake.restart()
    with pytest.raises(StreamError, match="brings records of customers-0 that no batch has taken in"):
        lake.send([*SECOND, *log_of([event("c5", 32)], first_offset=8)], batch_id=1)
    assert lake.send(SECOND, batch_id=1) is not None
    lake.check()


def test_what_became_of_its_offsets_stands_when_their_records_expire(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.restart(on_data_loss="count")
    lake.log.first_kept = {0: 3}
    planned = {("customers", 0): range(20)}
    records = [FIRST[0], *log_of([event("c2", 25)], first_offset=15)]
    records[0] = replace(records[0], offset=10)
    with monkeypatch.context() as patch:
        _die_at(lake, "silver", patch)
        with pytest.raises(_Died):
            lake.send(records, planned=planned)
    lake.log.first_kept = {0: 1000}
    lake.restart(on_data_loss="fail")
    row = lake.send(records, batch_id=0, planned=planned)
    assert row is not None
    assert (row.is_derived, row.read, row.lost, row.gaps) == (True, 2, 3, 15)
    assert row.sources[0].until_offset == 20
    lake.check()


@pytest.mark.parametrize("point", ["silver", "quarantine", "ledger"])
def test_verdicts_stand_when_the_contract_changed_meanwhile(
    lake: TestLake, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenures = [event("c1", 0, tenure=3), event("c2", 0, tenure=50), event("c3", 0, tenure=-1)]
    send_and_die(lake, log_of(tenures), point, monkeypatch)
    lake.restart(dataset=_stricter(lake.dataset))
    row = lake.send([], batch_id=0)
    assert row is not None
    # Where the first driver had made silver's rows, they stand; where not, today's contract cannot make c2.
    is_made = point != "silver"
    assert (row.silver, row.rejected) == ((2, 1) if is_made else (1, 2))
    assert row.rejected_by_reason == {"value:tenure": 1, **({} if is_made else {"contract_changed": 1})}
    quarantine = {r["offset"]: r["reasons"] for r in lake.rows("quarantine")}
    assert quarantine == {2: ["value:tenure"], **({} if is_made else {1: ["contract_changed"]})}
    assert sorted(r["customer_id"] for r in lake.rows("silver")) == (["c1", "c2"] if is_made else ["c1"])


def test_a_driver_that_lost_the_lease_commits_nothing(lake: TestLake) -> None:
    def refuse() -> None:
        raise LeaseError("taken")

    lake.batches._writes._guard = refuse
    with pytest.raises(LeaseError):
        lake.send(FIRST)
    assert lake.rows("bronze") == []


def test_a_query_that_a_recovery_ended_cannot_go_on(lake: TestLake) -> None:
    lake.send(FIRST)
    assert lake.tables.bronze.fence("query:bronze")
    with pytest.raises(StreamError, match="ended by a recovery"):
        lake.send(SECOND)


def test_a_second_driver_of_the_same_query_stops(lake: TestLake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.send(FIRST)
    other = TestLake(lake.spark, Path(lake.paths.bronze).parents[1], lake.dataset)
    lake.send(SECOND)
    # The other one looked when nobody had committed the batch yet.
    monkeypatch.setattr(LakeTable, "log", lambda table: table._log._table)
    with pytest.raises(StreamError, match="another driver writes for the same query"):
        other.send(SECOND, batch_id=1)
    monkeypatch.undo()
    lake.check()


def test_a_new_field_of_the_contract_reaches_old_tables(lake: TestLake) -> None:
    lake.send(FIRST)
    wider = _wider(lake.dataset)
    lake.tables.silver.schema = lake.tables.silver.schema.append(_field(wider))
    lake.tables.silver.prepare()
    lake.restart(dataset=wider)
    lake.send(log_of([event("c5", 30), event("c6", 30, loyalty="gold")], first_offset=2))
    assert {r["customer_id"]: r["loyalty"] for r in lake.rows("silver")} == {
        "c1": None,
        "c2": None,
        "c5": "none",
        "c6": "gold",
    }
    lake.check()


def _stricter(dataset: Dataset) -> Dataset:
    """The contract with a smaller largest tenure."""
    columns = tuple(
        replace(c, maximum=Decimal(10)) if c.name == "tenure" else c for c in dataset.events.columns
    )
    return replace(dataset, events=replace(dataset.events, columns=columns, fingerprint="1" * 64))


def _wider(dataset: Dataset) -> Dataset:
    """The contract with one more optional field."""
    added = replace(dataset.events.column("email"), name="loyalty", default="none")
    events = replace(dataset.events, columns=(*dataset.events.columns, added))
    silver = replace(dataset.silver, columns=(*dataset.silver.columns, replace(added, required=True)))
    return replace(dataset, events=events, silver=silver)


def _field(dataset: Dataset) -> Any:
    from medallion_contracts.compile.arrow import arrow_schema

    return arrow_schema(dataset.silver).field("loyalty")
