"""What becomes of each offset: read, a gap, compacted, lost, or a reason to stop."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kafka_log import HandMadeLog
from medallion_contracts.errors import BalanceError, RecordsLost, StreamError
from medallion_spark.stream.ledger import PartitionOffsets
from medallion_spark.stream.offset_account import MOST_ASKED, OffsetAccount, lost_offsets, refuse_losses
from medallion_spark.stream.topic_log import LogStartMoved, Where

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
TO_TEN = {("customers", 0): PartitionOffsets("customers", 0, 0, 10, 10, watermark=NOON)}


def group(partition: int, first: int, last: int, **changes: object) -> dict[str, Any]:
    """A row of `summarise`: a run of records without holes, unless changed."""
    rows = {"rows": last - first + 1, "smallest_offset": first, "largest_offset": last, "watermark": NOON}
    return {"topic": "customers", "partition": partition, **rows, **changes}


def account(
    *groups: Mapping[str, Any],
    carried: Mapping[Where, PartitionOffsets] = TO_TEN,
    plan: Mapping[int, range] | None = None,
    holes: Mapping[int, list[range]] | None = None,
    log: HandMadeLog | None = None,
    on_data_loss: str = "fail",
    is_derived: bool = False,
) -> dict[int, PartitionOffsets]:
    planned = None if plan is None else {("customers", number): its for number, its in plan.items()}
    found = OffsetAccount(log or HandMadeLog(), may_lose=on_data_loss == "count").account(
        groups, carried, planned, lambda where: (holes or {})[where[1]], is_derived=is_derived
    )
    for source in found.values():
        accounted = source.read + source.gaps + source.lost + source.compacted
        assert source.until_offset - source.from_offset == accounted
    return {where[1]: source for where, source in found.items()}


def numbers(source: PartitionOffsets) -> tuple[int, int, int]:
    return source.gaps, source.lost, source.compacted


class _AskedForNothing(HandMadeLog):
    def starts(self, topic: str) -> Mapping[int, int]:
        raise AssertionError("the broker is asked only when offsets have no record")


def test_consecutive_offsets_leave_no_gap_and_ask_nobody() -> None:
    found = account(group(0, 10, 14), plan={0: range(10, 15)}, log=_AskedForNothing())
    assert found[0] == PartitionOffsets("customers", 0, 10, 15, read=5, watermark=NOON)


def test_a_partition_that_nothing_was_read_of_keeps_its_place_and_watermark() -> None:
    found = account(group(1, 5, 6))
    assert found[0] == PartitionOffsets("customers", 0, 10, 10, watermark=NOON)
    assert found[1] == PartitionOffsets("customers", 1, 5, 7, read=2, watermark=NOON), "begins there"


def test_a_batch_accounts_for_all_that_was_planned() -> None:
    found = account(group(0, 12, 14), plan={0: range(10, 20), 1: range(0), 2: range(7, 9)})
    assert (found[0].until_offset, numbers(found[0])) == (20, (7, 0, 0)), "before and behind its records"
    assert (found[1].until_offset, numbers(found[1])) == (0, (0, 0, 0)), "nothing yet, but it is known"
    assert (found[2].until_offset, numbers(found[2])) == (9, (2, 0, 0)), "offsets without any record"


def test_a_hole_at_which_the_broker_has_a_record_stops_the_stream() -> None:
    log = HandMadeLog(records={("customers", 0): {13}})
    ahead = r"customers-0: offsets 10 to 14 were not read.*record at 13.*--recover-from-ledger"
    for may in ("fail", "count"):
        with pytest.raises(StreamError, match=ahead):
            account(group(0, 15, 19), plan={0: range(15, 20)}, log=log, on_data_loss=may)
    with pytest.raises(StreamError, match="record at 13"):
        account(group(0, 10, 19, rows=8), holes={0: [range(12, 14)]}, log=log)
    with pytest.raises(StreamError, match="record at 13"):
        account(plan={0: range(15, 20)}, log=log)  # a batch without records of the partition
    gone = HandMadeLog(first_kept={0: 14}, records={("customers", 0): {13}})
    assert numbers(account(group(0, 15, 19), log=gone, on_data_loss="count")[0]) == (1, 4, 0)


def test_only_the_largest_of_very_many_holes_are_asked_about() -> None:
    asked: list[range] = []

    class Log(HandMadeLog):
        def first_record(self, where: Where, offsets: range) -> int | None:
            asked.append(offsets)
            return super().first_record(where, offsets)

    markers = [range(offset, offset + 1) for offset in range(11, 1011, 2)]
    large = range(1012, 1100)
    found = account(
        group(0, 10, 1100, rows=1091 - len(markers) - len(large)), holes={0: [*markers, large]}, log=Log()
    )
    assert found[0].gaps == len(markers) + len(large)
    assert len(asked) == MOST_ASKED
    assert large in asked


@pytest.mark.parametrize(("start", "expected"), [(13, (2, 3, 0)), (15, (0, 5, 0)), (900, (0, 5, 0))])
def test_offsets_below_the_logs_start_are_lost_never_more_than_are_missing(
    start: int, expected: tuple[int, int, int]
) -> None:
    log = HandMadeLog(first_kept={0: start})
    assert numbers(account(group(0, 15, 19), log=log, on_data_loss="count")[0]) == expected
    lost = rf"offsets 10 to {9 + expected[1]} of customers-0 are gone \({expected[1]}\).*=count"
    with pytest.raises(RecordsLost, match=lost):
        account(group(0, 15, 19), log=log)


def test_a_planned_range_that_is_gone_as_a_whole_is_lost() -> None:
    log = HandMadeLog(first_kept={0: 40})
    found = account(plan={0: range(10, 30)}, log=log, on_data_loss="count")
    assert (found[0].until_offset, numbers(found[0])) == (30, (0, 20, 0))


def test_what_expires_after_it_was_passed_is_not_lost() -> None:
    log = HandMadeLog(first_kept={0: 900})
    with_marker = {"plan": {0: range(10, 21)}, "holes": {0: [range(14, 15)]}, "log": log}
    found = account(group(0, 10, 19, rows=9), **with_marker)  # type: ignore[arg-type]
    assert numbers(found[0]) == (2, 0, 0), "with failOnDataLoss the reader stops below the log's start"
    found = account(group(0, 10, 19, rows=9), on_data_loss="count", **with_marker)  # type: ignore[arg-type]
    assert numbers(found[0]) == (0, 2, 0), "without it goes on behind: no one can say"


def test_a_batch_of_bronze_needs_no_record_of_its_own_any_more() -> None:
    log = HandMadeLog(first_kept={0: 900})
    found = account(
        group(0, 12, 19, rows=7),
        holes={0: [range(14, 15)]},
        log=log,
        is_derived=True,
        plan={0: range(10, 30), 1: range(50)},
    )
    assert (found[0].until_offset, numbers(found[0])) == (20, (3, 0, 0))
    assert 1 not in found, "the plan may be of other records"


def test_a_new_partition_begins_with_its_first_record_wherever_its_log_begins() -> None:
    log = HandMadeLog(first_kept={1: 50})
    planned = {0: range(10, 10), 1: range(60)}
    found = account(group(1, 50, 59), plan=planned, log=log, on_data_loss="count")
    assert (found[1].from_offset, numbers(found[1])) == (0, (0, 50, 0))
    with pytest.raises(RecordsLost, match=r"offsets 0 to 49 of customers-1 are gone \(50\)"):
        account(group(1, 50, 59), plan=planned, log=log)
    found = account(group(1, 50, 59), plan={1: range(50, 60)}, carried={}, log=_AskedForNothing())
    assert (found[1].from_offset, numbers(found[1])) == (50, (0, 0, 0)), "before the first start of all"


def test_on_a_compacted_topic_no_offset_is_silently_a_gap() -> None:
    log = HandMadeLog(first_kept={0: 12}, compacted=True)
    found = account(
        group(0, 15, 19, rows=4),
        holes={0: [range(17, 18)]},
        log=log,
        on_data_loss="count",
        plan={0: range(10, 22)},
    )
    assert numbers(found[0]) == (0, 2, 6)
    with pytest.raises(StreamError, match="record at 13"):
        account(group(0, 15, 19), log=HandMadeLog(compacted=True, records={("customers", 0): {13}}))


def test_retention_that_goes_on_while_the_broker_is_asked_is_followed() -> None:
    class Log(HandMadeLog):
        def first_record(self, where: Where, offsets: range) -> int | None:
            if offsets.start < 12:
                self.first_kept = {0: 12}
                raise LogStartMoved
            return None

    assert numbers(account(group(0, 15, 19), log=Log(), on_data_loss="count")[0]) == (3, 2, 0)


def test_a_watermark_never_goes_back() -> None:
    later = NOON + timedelta(hours=1)
    carried = {("customers", 0): PartitionOffsets("customers", 0, 0, 10, watermark=later)}
    assert account(group(0, 10, 14), carried=carried)[0].watermark == later
    assert account(group(0, 10, 14, watermark=None), carried=carried)[0].watermark == later


@pytest.mark.parametrize("rows", [group(0, 9, 12), group(0, 10, 12, rows=4)])
def test_offsets_read_twice_are_an_error(rows: dict[str, Any]) -> None:
    with pytest.raises(BalanceError, match="customers-0"):
        account(rows)


def test_what_is_lost_is_named_by_partition_and_number() -> None:
    log = HandMadeLog(first_kept={0: 7, 1: 3, 2: 5})
    lost = lost_offsets({("customers", 0): 4, ("customers", 1): 30}, log)
    with pytest.raises(RecordsLost) as error:
        refuse_losses(lost)
    assert "offsets 4 to 6 of customers-0 are gone (3); offsets 0 to 4 of customers-2 are gone (5)" in str(
        error.value
    )
