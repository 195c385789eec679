"""Replay: which quarantine rows are open, what is sent, and what became of it. Real Delta tables, no JVM."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from medallion_contracts.errors import ParameterError
from medallion_contracts.loader import load_dataset
from medallion_ops.replay.records import Quarantine, Selection, outcome
from medallion_ops.replay.tasks import selection, verdicts
from medallion_store.lake_paths import LakePaths
from settings_of_tests import settings

DATASET = load_dataset("customers")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
        ("ingest_date", pa.date32()),
        ("verdict", pa.string()),
        ("reasons", pa.list_(pa.string())),
    ]
)


def row(offset: int, verdict: str, reasons: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    return {
        "key": b"k",
        "value": f"raw-{offset}".encode(),
        "topic": DATASET.topic,
        "partition": 0,
        "offset": offset,
        "timestamp": NOON + timedelta(minutes=offset),
        "headers": [],
        "ingest_date": date(2026, 11, 24),
        "verdict": verdict,
        "reasons": list(reasons),
        **changes,
    }


def replayed(
    offset: int,
    of: int,
    verdict: str,
    reasons: tuple[str, ...] = (),
    run: str = "run-1",
    attempt: int = 1,
    **changes: Any,
) -> Any:
    headers = [
        {"key": "medallion-origin", "value": f"{DATASET.topic}/0/{of}".encode()},
        {"key": "medallion-replay", "value": run.encode()},
        {"key": "medallion-replay-try", "value": str(attempt).encode()},
    ]
    return row(offset, verdict, reasons, topic=DATASET.replay_topic, headers=headers, **changes)


class Lake:
    """The quarantine and bronze of a lake in a folder."""

    def __init__(self, folder: Path) -> None:
        self._paths = LakePaths(str(folder), DATASET.name)
        self.quarantine = Quarantine(settings(LAKE_URI=str(folder), LAKE_AUTH="none").lake, DATASET)

    def quarantines(self, *rows: dict[str, Any]) -> None:
        write_deltalake(self._paths.quarantine, pa.Table.from_pylist(list(rows), SCHEMA), mode="append")

    def write(self, table: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        content = pa.Table.from_pylist(rows, schema)
        write_deltalake(getattr(self._paths, table), content, mode="append", schema_mode="merge")

    def origins(self) -> list[str]:
        records = self.quarantine.records(Selection(), "run-1")
        return [dict(record.headers)["medallion-origin"].decode() for record in records]

    def takes_in(self, *rows: dict[str, Any]) -> None:
        write_deltalake(self._paths.bronze, pa.Table.from_pylist(list(rows), SCHEMA), mode="append")

    def sent(self, chosen: Selection | None = None) -> list[bytes | None]:
        return [record.value for record in self.quarantine.records(chosen or Selection(), "run-1")]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(tmp_path)
    made.quarantines(
        row(1, "rejected", ("malformed",)),
        row(2, "rejected", ("type:a", "value:b")),
        row(3, "late"),
        row(4, "rejected", ("value:b",)),
    )
    return made


def test_a_lake_without_quarantine_has_nothing_to_replay(tmp_path: Path) -> None:
    assert Lake(tmp_path).quarantine.count(Selection()) == {"rows": 0}


def test_rows_are_counted_by_reason(lake: Lake) -> None:
    counts = {"rows": 4, "late": 1, "malformed": 1, "type:a": 1, "value:b": 2}
    assert lake.quarantine.count(Selection()) == counts


def test_rows_are_chosen_by_any_of_their_reasons(lake: Lake) -> None:
    assert lake.sent(Selection(frozenset({"type:a", "malformed"}))) == [b"raw-1", b"raw-2"]
    assert lake.sent(Selection(frozenset({"late"}))) == [b"raw-3"]


def test_rows_are_chosen_by_the_time_kafka_got_them(lake: Lake) -> None:
    two_to_three = Selection(since=NOON + timedelta(minutes=2), until=NOON + timedelta(minutes=4))
    assert lake.sent(two_to_three) == [b"raw-2", b"raw-3"]


def test_a_record_is_sent_byte_for_byte_with_its_coordinates(lake: Lake) -> None:
    (record, *_) = lake.quarantine.records(Selection(), "run-1")
    assert (record.key, record.value) == (b"k", b"raw-1")
    assert dict(record.headers) == {
        "medallion-origin": f"{DATASET.topic}/0/1".encode(),
        "medallion-replay": b"run-1",
        "medallion-replay-try": b"1",
    }


def test_a_row_is_open_until_its_content_is_in_silver(lake: Lake) -> None:
    lake.takes_in(
        row(1, "rejected", ("malformed",)),  # its own record is no replay of it
        replayed(0, of=2, verdict="silver"),
        replayed(1, of=3, verdict="duplicate"),
        replayed(2, of=4, verdict="rejected", reasons=("value:b",)),
    )
    assert lake.sent() == [b"raw-1", b"raw-4"]


def test_a_replay_that_came_back_is_not_a_row_of_its_own(lake: Lake) -> None:
    lake.quarantines(replayed(0, of=4, verdict="rejected", reasons=("value:b",)))
    assert lake.quarantine.count(Selection())["rows"] == 4


def test_headers_that_are_not_ours_do_no_harm(lake: Lake) -> None:
    foreign = [{"key": "medallion-origin", "value": b"\xff"}, {"key": "x", "value": None}]
    lake.takes_in(row(9, "silver", topic=DATASET.replay_topic, headers=foreign))
    assert lake.quarantine.count(Selection())["rows"] == 4


def test_the_outcome_counts_each_record_of_the_run_once_by_its_best_verdict(lake: Lake) -> None:
    lake.takes_in(
        replayed(0, of=1, verdict="rejected", reasons=("malformed",)),
        replayed(1, of=2, verdict="silver"),
        replayed(2, of=3, verdict="duplicate"),
        replayed(3, of=2, verdict="duplicate"),  # sent again by a retried task
        replayed(4, of=4, verdict="silver", run="another run"),
    )
    assert outcome(lake.quarantine.judged(), "run-1") == {
        "judged": 3,
        "accepted": 1,
        "duplicate": 1,
        "still_rejected": 1,
        "reasons": {"malformed": 1},
    }


def test_a_record_that_two_tries_sent_is_accepted_whichever_partition_is_read_first(lake: Lake) -> None:
    lake.takes_in(
        replayed(7, of=1, verdict="duplicate", attempt=2, partition=0),
        replayed(5, of=1, verdict="silver", attempt=1, partition=3),
        replayed(8, of=2, verdict="rejected", reasons=("malformed",), attempt=1),
        replayed(9, of=2, verdict="silver", attempt=2),
    )
    found = outcome(lake.quarantine.judged(), "run-1")
    assert (found["judged"], found["accepted"], found["duplicate"], found["reasons"]) == (2, 2, 0, {})


def test_a_run_waits_for_all_of_its_last_try_and_counts_the_verdicts_of_every_try(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDALLION_LAKE_URI", str(tmp_path))
    monkeypatch.delenv("MEDALLION_LAKE_AUTH", raising=False)
    # The first try sent 1, 2 and 3, and was killed; the second one found 1 settled, and sent 2, 3 and 4.
    lake.takes_in(*(replayed(one, of=one, verdict="silver") for one in (1, 2, 3)))
    sent = {"sent": 3, "attempt": 2}
    assert verdicts("customers", "run-1", sent, NOON) is None, "nothing of the last try is judged yet"
    lake.takes_in(*(replayed(10 + one, of=one, verdict="duplicate", attempt=2) for one in (2, 3)))
    assert verdicts("customers", "run-1", sent, NOON) is None
    lake.takes_in(replayed(14, of=4, verdict="rejected", reasons=("value:b",), attempt=2))
    found = verdicts("customers", "run-1", sent, NOON)
    assert found
    assert (found["judged"], found["accepted"], found["still_rejected"]) == (4, 3, 1)


@pytest.mark.parametrize("day", [date(2026, 11, 23), date(2026, 11, 24), date(2026, 11, 25)])
def test_verdicts_are_found_on_both_sides_of_midnight(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, day: date
) -> None:
    monkeypatch.setenv("MEDALLION_LAKE_URI", str(tmp_path))
    monkeypatch.delenv("MEDALLION_LAKE_AUTH", raising=False)
    lake.takes_in(replayed(1, of=1, verdict="silver", ingest_date=day))
    midnight = datetime(2026, 11, 24, 0, 0, 0, 1, tzinfo=UTC)
    found = verdicts("customers", "run-1", {"sent": 1, "attempt": 1}, midnight)
    assert found
    assert found["accepted"] == 1


def test_all_problems_of_the_parameters_are_named_together() -> None:
    with pytest.raises(ParameterError) as raised:
        selection({"from": "last week", "to": "soon"})
    assert len(raised.value.problems) == 2
    with pytest.raises(ParameterError, match="must be before"):
        selection({"from": "2026-11-24T10:00:00+02:00", "to": "2026-11-24T08:00:00Z"})


def test_a_time_without_an_offset_is_utc() -> None:
    assert selection({"from": "2026-11-24T10:00:00"}).since == datetime(2026, 11, 24, 10, tzinfo=UTC)


def test_records_of_two_logs_of_a_name_are_replayed_apart(lake: Lake) -> None:
    """Rows older than the column `_incarnation` are of the first log."""
    second = SCHEMA.append(pa.field("_incarnation", pa.int32()))
    lake.quarantines(row(40, "rejected", ("malformed",)))
    lake.write("quarantine", [row(40, "rejected", ("malformed",), _incarnation=1)], second)
    assert sorted(origin for origin in lake.origins() if "/40" in origin) == [
        "customers/0/40",
        "customers/0/40/1",
    ]
    lake.takes_in(replayed(0, 40, "silver"))
    left = [origin for origin in lake.origins() if "/40" in origin]
    assert left == ["customers/0/40/1"], "the verdict on the first log's record is not the other's"
