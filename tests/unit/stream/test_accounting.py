"""The sums of a micro-batch: offsets, gaps, losses, balance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from medallion_contracts.errors import BalanceError, StreamError
from medallion_contracts.loader import load_dataset
from medallion_spark.lake.silver_partitions import partition_parts
from medallion_spark.stream.batch_balance import (
    BatchCounts,
    account,
    check_balance,
    check_one_task_each,
    check_written,
    count,
)
from medallion_spark.stream.ledger import PartitionOffsets

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


def never_asked(_: str) -> Mapping[int, int]:
    raise AssertionError("the broker is asked only when offsets are missing at the beginning")


def test_consecutive_offsets_leave_no_gap() -> None:
    carried = {("customers", 0): PartitionOffsets("customers", 0, 0, 10, watermark=NOON)}
    found = account([group(0, 10, 14)], carried, never_asked)
    assert found["customers", 0] == PartitionOffsets("customers", 0, 10, 15, read=5, watermark=NOON)


def test_a_partition_that_nothing_was_read_of_keeps_its_place_and_watermark() -> None:
    carried = {("customers", 1): PartitionOffsets("customers", 1, 0, 10, 10, watermark=NOON)}
    found = account([group(0, 5, 6)], carried, never_asked)
    assert found["customers", 1] == PartitionOffsets("customers", 1, 10, 10, watermark=NOON)
    assert found["customers", 0] == PartitionOffsets("customers", 0, 5, 7, read=2, watermark=NOON), (
        "begins where it begins"
    )


def test_offsets_without_records_are_gaps_or_lost() -> None:
    carried = {("customers", 0): PartitionOffsets("customers", 0, 0, 10)}
    inside = account([group(0, 10, 19, rows=7)], carried, never_asked)["customers", 0]
    assert (inside.gaps, inside.lost) == (3, 0)
    before = account([group(0, 15, 19)], carried, lambda _: {0: 13})["customers", 0]
    assert (before.gaps, before.lost) == (2, 3)
    all_lost = account([group(0, 15, 19)], carried, lambda _: {0: 900})["customers", 0]
    assert (all_lost.gaps, all_lost.lost) == (0, 5), "never more than is missing"


def test_a_watermark_never_goes_back() -> None:
    later = NOON + timedelta(hours=1)
    carried = {("customers", 0): PartitionOffsets("customers", 0, 0, 10, watermark=later)}
    assert account([group(0, 10, 14)], carried, never_asked)["customers", 0].watermark == later
    assert (
        account([group(0, 10, 14, watermark=None)], carried, never_asked)["customers", 0].watermark == later
    )


@pytest.mark.parametrize("rows", [[group(0, 9, 12)], [group(0, 10, 12, rows=4)]])
def test_offsets_read_twice_are_an_error(rows: list[dict[str, Any]]) -> None:
    carried = {("customers", 0): PartitionOffsets("customers", 0, 0, 10)}
    with pytest.raises(BalanceError, match="customers-0"):
        account(rows, carried, never_asked)


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
