"""Going on after a lost checkpoint, by what bronze and the ledger know."""

from __future__ import annotations

import pytest

from kafka_log import TestLake, event, log_of
from medallion_contracts.errors import StreamError
from medallion_spark.stream.batch import MicroBatches
from medallion_spark.stream.recovery import EARLIEST, last_query, offsets_after, recover

FIRST = log_of([event("c1", 0), event("c2", 30), event("c3", 0)])
SECOND = log_of([event("c4", 31), event("c4", 31), b"{"], first_offset=3)


def recover_lake(lake: TestLake) -> list[str]:
    """Recover as a driver without checkpoint does; gives the queries whose batch was completed."""
    asked: list[str] = []

    def batches_of(query_id: str) -> MicroBatches:
        asked.append(query_id)
        lake.restart(query_id=query_id)
        return lake.batches

    recover(lake.spark, lake.tables, lake.ledger, batches_of)
    return asked


def die_before_the_ledger(lake: TestLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process SECOND up to the row of the ledger."""

    def refuse(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(lake.ledger, "append", refuse)
        with pytest.raises(InterruptedError):
            lake.send(SECOND, batch_id=1)


def test_a_batch_under_way_is_completed_and_the_old_query_shut_out(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.send(FIRST)
    die_before_the_ledger(lake, monkeypatch)
    assert recover_lake(lake) == ["query"]
    carried = lake.ledger.carried()
    assert (carried.sequence, carried.sources["customers", 0].until_offset) == (2, 6)
    lake.check()
    lake.restart()
    with pytest.raises(StreamError, match="ended by a recovery"):
        lake.send(log_of([event("c5", 32)], first_offset=6), batch_id=2)


def test_a_new_query_goes_on_with_offsets_and_watermarks(lake: TestLake) -> None:
    lake.send(FIRST)
    assert recover_lake(lake) == [], "nothing was under way"
    starting = offsets_after(lake.ledger.carried(), {"customers": [0, 1], "customers_replay": [0]})
    assert starting == {"customers": {"0": 3, "1": EARLIEST}, "customers_replay": {"0": EARLIEST}}
    lake.restart(query_id="next")
    lake.send(log_of([event("c5", 19), event("c2", 30)], first_offset=3), batch_id=0)
    verdicts = lake.verdicts()
    assert verdicts["customers", 0, 3] == ("late", ())
    assert verdicts["customers", 0, 4] == ("duplicate", ())
    assert last_query(lake.tables.bronze, lake.ledger) == "next"
    lake.check()


def test_a_recovery_that_was_killed_is_done_again(lake: TestLake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.send(FIRST)
    die_before_the_ledger(lake, monkeypatch)
    recover_lake(lake)
    versions = [table.version() for table in (lake.tables.bronze, lake.tables.silver, lake.tables.quarantine)]
    assert recover_lake(lake) == []
    assert versions == [
        table.version() for table in (lake.tables.bronze, lake.tables.silver, lake.tables.quarantine)
    ]
    lake.check()


def test_the_first_batch_of_all_can_be_the_one_under_way(
    lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_before_the_ledger(lake, monkeypatch)
    assert recover_lake(lake) == ["query"]
    assert lake.ledger.carried().sources["customers", 0].until_offset == 6
    lake.check()


def test_there_must_be_something_to_recover_from(lake: TestLake) -> None:
    assert last_query(lake.tables.bronze, lake.ledger) is None
    with pytest.raises(StreamError, match="without --recover-from-ledger"):
        recover_lake(lake)
