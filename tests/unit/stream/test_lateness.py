"""The test of lateness, batch of Arrow rows after batch, against the rule said in one line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medallion_contracts.errors import StreamError
from medallion_spark.verdicts.parse import Lateness, _LateTest

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
ALLOWED = timedelta(minutes=10)
TYPE = pa.timestamp("us", tz="UTC")


def arrays(
    minutes: list[int | None], first_offset: int = 0, topic: str = "customers"
) -> tuple[pa.Array, ...]:
    rows = len(minutes)
    moments = [None if minute is None else NOON + timedelta(minutes=minute) for minute in minutes]
    return (
        pa.array([topic] * rows),
        pa.array([0] * rows, pa.int32()),
        pa.array(range(first_offset, first_offset + rows)),
        pa.array(moments, TYPE),
    )


@settings(deadline=None)  # the first example loads what it needs
@given(
    minutes=st.lists(st.one_of(st.none(), st.integers(-30, 30)), max_size=40),
    cut=st.integers(0, 40),
    carried=st.one_of(st.none(), st.integers(-30, 30)),
)
def test_late_is_older_than_the_largest_before_it_by_more_than_is_allowed(
    minutes: list[int | None], cut: int, carried: int | None
) -> None:
    watermarks = {} if carried is None else {("customers", 0): NOON + timedelta(minutes=carried)}
    test = _LateTest(Lateness("customers", ALLOWED, watermarks))
    found = [*test.test(*arrays(minutes[:cut])), *test.test(*arrays(minutes[cut:], len(minutes[:cut])))]
    before = [[m for m in [carried, *minutes[:n]] if m is not None] for n in range(len(minutes))]
    assert found == [
        minute is not None and bool(seen) and minute < max(seen) - 10
        for minute, seen in zip(minutes, before, strict=True)
    ]


def test_other_topics_are_never_late() -> None:
    test = _LateTest(Lateness("customers", ALLOWED, {}))
    assert list(test.test(*arrays([60, 0], topic="customers_replay"))) == [False, False]


def test_offsets_that_go_back_are_refused() -> None:
    test = _LateTest(Lateness("customers", ALLOWED, {}))
    test.test(*arrays([0, 1]))
    with pytest.raises(StreamError, match="order of offsets"):
        test.test(*arrays([2], first_offset=1))


def test_two_partitions_in_one_task_are_refused() -> None:
    test = _LateTest(Lateness("customers", ALLOWED, {}))
    topic, _, offset, moments = arrays([0, 1])
    with pytest.raises(StreamError, match="one partition a task"):
        test.test(topic, pa.array([0, 1], pa.int32()), offset, moments)
