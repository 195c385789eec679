"""Which partitions are compacted, in which commits, and what a compaction leaves as it was."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from medallion_spark.maintenance.compaction import (
    SMALL_BYTES,
    Values,
    compact,
    is_cold,
    partition_filters,
    worth_compacting,
)

HOUR_COLUMNS = ("year", "month", "day", "hour")
LATER = datetime(2026, 11, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "hour", "expected"),
    [
        (datetime(2026, 11, 1, 14, 59, tzinfo=UTC), 13, False),
        (datetime(2026, 11, 1, 15, 0, tzinfo=UTC), 13, True),
        (datetime(2026, 11, 2, 0, 30, tzinfo=UTC), 23, False),
        (datetime(2027, 1, 1, 0, 0, tzinfo=UTC), 23, True),
    ],
)
def test_an_hour_is_cold_when_it_has_been_over_for_an_hour(now: datetime, hour: int, expected: bool) -> None:
    assert is_cold((2026, 11, 1, hour), now) is expected


def test_a_day_is_cold_an_hour_after_midnight_and_a_table_without_partitions_always() -> None:
    assert not is_cold((date(2026, 11, 1),), datetime(2026, 11, 2, 0, 59, tzinfo=UTC))
    assert is_cold((date(2026, 11, 1),), datetime(2026, 11, 2, 1, 0, tzinfo=UTC))
    assert is_cold((), LATER)


def test_partitions_of_another_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="understood"):
        is_cold((2026, 11), LATER)


def files(*of: tuple[int, int]) -> pa.Table:
    """Files of 1 November 2026 by hour and bytes."""
    rows = [
        {
            "size_bytes": size,
            **dict(zip((f"partition.{n}" for n in HOUR_COLUMNS), (2026, 11, 1, hour), strict=True)),
        }
        for hour, size in of
    ]
    return pa.Table.from_pylist(rows)


def test_only_several_small_files_are_worth_it() -> None:
    many = files((9, 10), (9, 10), (10, 10), (11, SMALL_BYTES), (11, 10), (12, 10), (12, 20), (12, 30))
    assert worth_compacting(many, HOUR_COLUMNS, LATER) == [(2026, 11, 1, 9), (2026, 11, 1, 12)]
    assert worth_compacting(many, HOUR_COLUMNS, datetime(2026, 11, 1, 12, tzinfo=UTC)) == [(2026, 11, 1, 9)]
    assert worth_compacting(files((9, 1)).select(["size_bytes"]), (), LATER) == []
    assert worth_compacting(files((9, 1), (9, 1)).select(["size_bytes"]), (), LATER) == [()]


def test_the_hours_of_a_day_are_one_commit() -> None:
    hours: list[Values] = [(2026, 11, 1, 9), (2026, 11, 1, 12), (2026, 11, 2, 0)]
    assert list(partition_filters(hours, HOUR_COLUMNS)) == [
        [("year", "=", "2026"), ("month", "=", "11"), ("day", "=", "1"), ("hour", "in", ["9", "12"])],
        [("year", "=", "2026"), ("month", "=", "11"), ("day", "=", "2"), ("hour", "in", ["0"])],
    ]
    days: list[Values] = [(date(2026, 11, 1),), (date(2026, 11, 2),)]
    assert list(partition_filters(days, ("ingest_date",))) == [
        [("ingest_date", "in", ["2026-11-01", "2026-11-02"])]
    ]
    assert list(partition_filters([()], ())) == [None]
    assert list(partition_filters([], ())) == []


def test_rows_and_the_change_feed_stay_as_they_were(tmp_path: Path) -> None:
    rows = pa.table({"day": [date(2026, 11, 1)] * 3 + [date(2026, 11, 2)], "number": [1, 2, 3, 4]})
    for number in range(4):
        write_deltalake(tmp_path, rows.slice(number, 1), mode="append", partition_by=["day"])
    assert compact(DeltaTable(tmp_path), LATER) == 3
    after = DeltaTable(tmp_path)
    assert after.to_pyarrow_table().sort_by("number").equals(rows)
    assert len(after.file_uris()) == 2
    assert compact(after, LATER) == 0, "what is compacted already is left alone"
    assert after.version() == DeltaTable(tmp_path).version()
