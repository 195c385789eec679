"""The sums of a micro-batch: verdicts and their balance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from medallion_contracts.errors import BalanceError, StreamError
from medallion_contracts.loader import load_dataset
from medallion_spark.lake.silver_partitions import partition_parts
from medallion_spark.stream.batch_balance import (
    BatchCounts,
    check_balance,
    check_one_task_each,
    check_written,
    count,
)

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def group(partition: int, first: int, last: int, **changes: object) -> dict[str, Any]:
    """A source of a batch's summary: a run of records without gaps, all to silver, unless changed."""
    rows = last - first + 1
    return {
        "topic": "customers",
        "partition": partition,
        "task": partition,
        "rows": rows,
        "silver": rows,
        "duplicate": 0,
        "late": 0,
        "rejected": 0,
        "key_mismatch": 0,
        "with_unknown": 0,
        "smallest_offset": first,
        "largest_offset": last,
        "watermark": NOON,
        **changes,
    }


def test_every_record_has_one_verdict() -> None:
    check_balance(count([group(0, 0, 9), group(1, 0, 4, silver=2, late=3)]))
    with pytest.raises(BalanceError, match=r"5 records were read.*silver 2.*4 in all"):
        check_balance(count([group(1, 0, 4, silver=2, late=2)]))


def test_repeats_move_candidates_and_keep_the_balance() -> None:
    numbers = count([group(0, 0, 9)]).after_repeats({"duplicate": 3, "conflict": 2})
    assert numbers.verdicts == {"silver": 5, "duplicate": 3, "late": 0, "rejected": 2}
    assert numbers.quarantine == 2
    check_balance(numbers)


def test_more_repeats_than_candidates_are_an_error() -> None:
    numbers = BatchCounts(2, {"silver": 2, "duplicate": 0, "late": 0, "rejected": 0}, 0, 0)
    with pytest.raises(BalanceError):
        check_balance(numbers.after_repeats({"duplicate": 3}))


def test_a_commit_of_other_than_the_expected_rows_is_an_error() -> None:
    check_written("silver", 5, 5)
    with pytest.raises(BalanceError, match="silver has 4 rows of the batch, the verdicts say 5"):
        check_written("silver", 4, 5)


def test_a_partition_in_two_tasks_is_an_error() -> None:
    check_one_task_each([group(0, 0, 1), group(1, 0, 1)])
    with pytest.raises(StreamError, match="customers-0 was read by several tasks"):
        check_one_task_each([group(0, 0, 1), group(0, 2, 3, task=7)])


def test_silver_is_partitioned_by_parts_of_the_event_time_only() -> None:
    dataset = load_dataset("customers")
    assert partition_parts(dataset) == {name: name for name in ("year", "month", "day", "hour")}
    by_plan = replace(dataset.silver.column("hour"), transform="contract")
    columns = tuple(by_plan if column.name == "hour" else column for column in dataset.silver.columns)
    with pytest.raises(StreamError, match="hour = 'contract'"):
        partition_parts(replace(dataset, silver=replace(dataset.silver, columns=columns)))
