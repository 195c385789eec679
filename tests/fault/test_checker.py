"""The checker is worth something only if it sees what it is there for: each kind of damage is planted."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest
from fault.checker import Lake, check
from fault.topic_log import COORDINATES

from medallion_contracts.judge import EventJudge
from medallion_contracts.loader import load_dataset

DATASET = load_dataset("customers")
POLL_SECONDS = datetime(2026, 3, 1, 12, tzinfo=UTC)
HASH = DATASET.fingerprint


def sent() -> pd.DataFrame:
    """Six records of one partition: four good ones, one of them twice, one broken."""
    events = [
        {"customer_id": f"C{n}", "updated_at": f"2026-03-01T11:0{n}:00Z", "tenure": n} for n in range(4)
    ]
    values = [json.dumps(event).encode() for event in [*events, events[2]]] + [b"{broken"]
    return pd.DataFrame(
        {
            "topic": "customers",
            "partition": 0,
            "offset": range(6),
            "incarnation": 0,
            "timestamp": int(POLL_SECONDS.timestamp() * 1000),
            "key": [b"C0", b"C1", b"C2", b"C3", b"C2", None],
            "value": values,
            "headers": [()] * 6,
        }
    )


def landed(log: pd.DataFrame) -> Lake:
    """The lake as the stream should leave it, in two batches of three records."""
    judge = EventJudge(DATASET.events)
    verdicts = ["silver", "silver", "silver", "silver", "duplicate", "rejected"]
    bronze = log.copy()
    bronze["timestamp"] = pd.Timestamp(POLL_SECONDS)
    bronze["headers"] = None
    bronze["_query_id"] = "q"
    bronze["_batch_id"] = [0, 0, 0, 1, 1, 1]
    bronze["verdict"] = verdicts
    bronze["reasons"] = [["malformed"] if verdict == "rejected" else [] for verdict in verdicts]
    silver = []
    for row in bronze[bronze["verdict"] == "silver"].to_dict("records"):
        judged = judge.judge(row["value"])
        where = {name: row[name] for name in COORDINATES}
        silver.append({**judged.fields, "defaulted_fields": list(judged.defaulted), **where})
    ledger = [batch_row(0, silver=3), batch_row(1, silver=1, duplicate=1, rejected=1)]
    quarantine = bronze[bronze["verdict"] == "rejected"].copy()
    return Lake(bronze, pd.DataFrame(silver), quarantine, pd.DataFrame(ledger))


def batch_row(number: int, **counts: int) -> dict[str, object]:
    """A ledger row of three records."""
    source = {"topic": "customers", "partition": 0, "from_offset": 3 * number, "until_offset": 3 * number + 3}
    return {
        "query_id": "q",
        "batch_id": number,
        "read": 3,
        "silver": 0,
        "duplicate": 0,
        "late": 0,
        "rejected": 0,
        **counts,
        "sources": [{**source, "read": 3, "gaps": 0, "lost": 0, "compacted": 0}],
    }


def of_another_log() -> Callable[[Lake], Lake]:
    def plant(lake: Lake) -> Lake:
        ledger = copy.deepcopy(lake.ledger)
        ledger["sources"].tolist()[1][0]["incarnation"] = 1
        return replace(lake, ledger=ledger)

    return plant


def test_a_lake_as_it_should_be_is_clean() -> None:
    log = sent()
    report = check(log, landed(log), DATASET)
    assert report.is_clean, report.findings


def drop(table: str, row: int) -> Callable[[Lake], Lake]:
    return lambda lake: replace(lake, **{table: getattr(lake, table).drop(getattr(lake, table).index[row])})


def repeat(table: str, row: int) -> Callable[[Lake], Lake]:
    def plant(lake: Lake) -> Lake:
        frame = getattr(lake, table)
        return replace(lake, **{table: pd.concat([frame, frame.iloc[[row]]], ignore_index=True)})

    return plant


def put(table: str, row: int, column: str, value: object) -> Callable[[Lake], Lake]:
    def plant(lake: Lake) -> Lake:
        frame = copy.deepcopy(getattr(lake, table))
        frame.at[frame.index[row], column] = value
        return replace(lake, **{table: frame})

    return plant


LOSSES = {
    "bronze": drop("bronze", 1),
    "silver": drop("silver", 1),
    "quarantine": drop("quarantine", 0),
    "the row a duplicate repeats": drop("silver", 2),
}
DOUBLES = {name: repeat(name, 0) for name in ("bronze", "silver", "quarantine")}
CHANGES = {
    "a byte in bronze": put("bronze", 0, "value", b'{"customer_id": "CX"}'),
    "a key in bronze": put("bronze", 0, "key", b"other"),
    "a header in bronze": put("bronze", 0, "headers", [{"key": "h", "value": b"1"}]),
    "a byte in quarantine": put("quarantine", 0, "value", b"{Broken"),
    "a value in silver": put("silver", 0, "tenure", 7),
    "a default that is not listed": put("silver", 0, "defaulted_fields", []),
    "a verdict": put("bronze", 0, "verdict", "late"),
    "a reason too many": put("bronze", 0, "reasons", ["malformed"]),
    "a count in the ledger": put("ledger", 1, "silver", 2),
    "a batch that is twice in the ledger": repeat("ledger", 0),
    "a batch missing in the ledger": drop("ledger", 0),
    "a record of another log of the name": put("bronze", 5, "incarnation", 1),
    "a batch of another log of the name": of_another_log(),
    "a hole between batches": put("ledger", 1, "sources", batch_row(2)["sources"]),
}


@pytest.mark.parametrize("plant", LOSSES.values(), ids=LOSSES.keys())
def test_a_planted_loss_is_seen(plant: Callable[[Lake], Lake]) -> None:
    log = sent()
    assert check(log, plant(landed(log)), DATASET).lost > 0


@pytest.mark.parametrize("plant", DOUBLES.values(), ids=DOUBLES.keys())
def test_a_planted_duplicate_is_seen(plant: Callable[[Lake], Lake]) -> None:
    log = sent()
    assert check(log, plant(landed(log)), DATASET).duplicated > 0


@pytest.mark.parametrize("plant", CHANGES.values(), ids=CHANGES.keys())
def test_a_planted_change_is_seen(plant: Callable[[Lake], Lake]) -> None:
    log = sent()
    assert not check(log, plant(landed(log)), DATASET).is_clean


def test_the_same_version_at_two_coordinates_is_a_duplicate() -> None:
    log = sent()
    lake = landed(log)
    again = lake.silver.iloc[[2]].assign(offset=4)
    lake.bronze.loc[4, "verdict"] = "silver"
    doubled = replace(lake, silver=pd.concat([lake.silver, again], ignore_index=True))
    assert check(log, doubled, DATASET).duplicated > 0


def test_nothing_read_is_not_taken_for_success() -> None:
    log = sent()
    assert not check(log.iloc[:0], landed(log), DATASET).is_clean
