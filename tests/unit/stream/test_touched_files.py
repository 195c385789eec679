"""Which of silver's files a batch may repeat, and which it need not open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medallion_contracts.loader import load_dataset
from medallion_spark.lake.batch_rows import files_of
from medallion_spark.lake.commits import TableCommit
from medallion_spark.lake.silver_partitions import STATISTICS_ROUNDING, touched_files, touched_partitions
from medallion_spark.stream.batch_balance import summary_of
from medallion_spark.verdicts import repeat_search
from medallion_spark.verdicts.repeat_search import SilverKeys, _common, _groups

DATASET = load_dataset("customers")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
MOMENT = pa.timestamp("us", tz="UTC")
PARTS = ("year", "month", "day", "hour")


def hours_of(moments: Sequence[datetime]) -> pa.Table:
    """A summary's hours: one row for each hour that has some of the moments."""
    groups: dict[int, list[datetime]] = {}
    for moment in moments:
        groups.setdefault(int(moment.timestamp()) // 3600, []).append(moment)
    rows = [{"hour": hour, "earliest": min(found), "latest": max(found)} for hour, found in groups.items()]
    return pa.Table.from_pylist(
        rows, pa.schema([("hour", pa.int64()), ("earliest", MOMENT), ("latest", MOMENT)])
    )


def file(path: str, first: datetime, last: datetime | None = None, *, known: bool = True) -> dict[str, Any]:
    """A file of silver, as `LakeTable.files` tells of it."""
    return {
        "path": path,
        "num_records": 1,
        **{f"partition.{name}": getattr(first, name) for name in PARTS},
        "min.updated_at": first if known else None,
        "max.updated_at": (last or first) if known else None,
    }


FILES = pa.schema(
    [
        ("path", pa.string()),
        ("num_records", pa.int64()),
        *((f"partition.{name}", pa.int32()) for name in PARTS),
        ("min.updated_at", MOMENT),
        ("max.updated_at", MOMENT),
    ]
)


def found(files: list[dict[str, Any]], moments: Sequence[datetime]) -> list[str]:
    touched = touched_partitions(hours_of(moments), DATASET)
    chosen = touched_files(pa.Table.from_pylist(files, FILES), touched, "updated_at")
    paths: list[str] = chosen["path"].to_pylist()
    return paths


def test_a_batch_of_very_many_hours_touches_those_hours_and_no_others() -> None:
    every_other = [NOON + timedelta(hours=2 * number) for number in range(990)]
    files = [file(str(number), NOON + timedelta(hours=number)) for number in range(43_200)]
    assert found(files, every_other) == [str(2 * number) for number in range(990)]


def test_a_file_of_the_hour_with_other_times_is_left_out() -> None:
    def at(minute: float) -> datetime:
        return NOON + timedelta(minutes=minute)

    files = [
        file("before", at(0), at(9)),
        file("around", at(5), at(25)),
        file("after", at(21), at(30)),
        file("unknown", at(0), known=False),
        file("cut to milliseconds", at(5), at(10) - STATISTICS_ROUNDING / 2),
        file("another hour", at(65), at(70)),
    ]
    assert found(files, [at(10), at(20)]) == ["around", "unknown", "cut to milliseconds"]
    assert found(files, []) == found([], [at(10)]) == []


@given(
    st.lists(st.integers(0, 10_000), max_size=30), st.lists(st.tuples(st.integers(0, 10_000)), max_size=30)
)
def test_no_file_that_holds_a_time_of_the_batch_is_left_out(
    times: list[int], files: list[tuple[int]]
) -> None:
    moments = [NOON + timedelta(minutes=minute) for minute in times]
    made = [file(str(n), NOON + timedelta(minutes=at)) for n, (at,) in enumerate(files)]
    chosen = set(found(made, moments))
    assert all(one["path"] in chosen for one in made if one["min.updated_at"] in moments)
    touched = {moment.replace(minute=0) for moment in moments}
    assert all(one["min.updated_at"].replace(minute=0) in touched for one in made if one["path"] in chosen)


def test_the_groups_of_a_batch_are_summed_up_by_source_and_by_hour() -> None:
    group = {
        "topic": "customers",
        "partition": 0,
        "task": 0,
        "rows": 2,
        **dict.fromkeys(("duplicate", "late", "rejected", "key_mismatch", "with_unknown"), 0),
        "silver": 2,
        "largest_bytes": 10,
        "watermark": NOON,
    }
    groups = [
        {**group, "hour": 1, "smallest_offset": 0, "largest_offset": 5, "earliest": NOON, "latest": NOON},
        {**group, "hour": 2, "smallest_offset": 1, "largest_offset": 4, "earliest": NOON, "latest": NOON},
        {**group, "hour": None, "silver": 0, "rejected": 2, "smallest_offset": 6, "largest_offset": 7,
         "largest_bytes": 99, "watermark": None, "earliest": None, "latest": None},
        {**group, "partition": 1, "hour": 1, "smallest_offset": 3, "largest_offset": 3,
         "earliest": NOON, "latest": NOON + timedelta(minutes=1)},
    ]  # fmt: skip
    summary = summary_of(pa.Table.from_pylist(groups))
    first, second = sorted(summary.sources, key=lambda row: int(row["partition"]))
    assert (first["rows"], first["silver"], first["rejected"]) == (6, 4, 2)
    assert (first["smallest_offset"], first["largest_offset"], first["largest_bytes"]) == (0, 7, 99)
    assert (first["watermark"], second["rows"]) == (NOON, 2)
    hours = sorted(summary.hours.to_pylist(), key=lambda row: int(row["hour"]))
    assert hours == [
        {"hour": 1, "earliest": NOON, "latest": NOON + timedelta(minutes=1)},
        {"hour": 2, "earliest": NOON, "latest": NOON},
    ]


def test_the_files_not_asked_for_longest_are_forgotten_first() -> None:
    keys = SilverKeys(most=3 * (100 + repeat_search._A_FILE_TAKES))
    for name in "abc":
        keys.add(name, np.arange(100, dtype=np.int64))
    assert keys.get("a") is not None
    keys.add("d", np.arange(100, dtype=np.int64))
    assert keys.get("b") is None
    assert all(keys.get(name) is not None for name in "acd")


def test_files_that_hold_keys_of_the_batch_are_told_with_those_keys() -> None:
    held_by = {"a": [5, 1, 9], "b": [7], "none": [], "c": [1]}
    files = [(path, np.array(held, np.int64)) for path, held in held_by.items()]
    hits = {path: sorted(held.tolist()) for path, held in _common(files, np.array([1, 5, 8]))}
    assert hits == {"a": [1, 5], "c": [1]}
    assert list(_common(files, np.array([], np.int64))) == list(_common([], np.array([1]))) == []


def test_unknown_files_are_read_a_bounded_number_of_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeat_search, "ROWS_AT_ONCE", 10)
    assert list(_groups(["a", "b", "c", "d"], {"a": 4, "b": 7, "c": 12, "d": 1})) == [
        ["a", "b"],
        ["c"],
        ["d"],
    ]


def test_rows_of_a_commit_are_in_its_files_or_in_what_its_partitions_hold_now() -> None:
    at = datetime(2026, 11, 1, 5, tzinfo=UTC)
    values = {name: str(getattr(at, name)) for name in PARTS}
    commit = TableCommit(7, at, "label", 2, (("x", values), ("y", values)))
    there = [file("x", at), file("y", at), file("z", at), file("w", at + timedelta(hours=1))]
    assert files_of(commit, pa.Table.from_pylist(there, FILES)) == ["x", "y"]
    joined = [file("joined", at), file("w", at + timedelta(hours=1))]
    assert files_of(commit, pa.Table.from_pylist(joined, FILES)) == ["joined"]
