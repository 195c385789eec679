"""When the producer's own events happened: later with every event, so that none of them is late."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

SPREAD = timedelta(minutes=5)
"""Over how long events are dated that share an `as_of`: within any watermark, in at most two hours."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Timeline = Callable[[int], datetime]
"""Gives the event with that index, counted from 0, its time; call it with rising indexes."""


def spread_until(as_of: datetime, count: int) -> Timeline:
    """Dates `count` events evenly over the SPREAD that ends at `as_of`: the same on every run."""
    # At least a microsecond apart, the contract's precision: equal times would be one version, not two.
    step = max(SPREAD // count, timedelta(microseconds=1))
    first = as_of.astimezone(UTC) - step * (count - 1)
    return lambda index: first + step * index


def live(clock: Callable[[], int] = time.time_ns) -> Timeline:
    """Dates each event when it is made. `clock` gives nanoseconds since 1970."""
    last = 0

    def now(index: int) -> datetime:
        nonlocal last
        last = max(clock() // 1_000, last + 1)  # the clock may stand still or be set back
        return _EPOCH + timedelta(microseconds=last)

    return now


def as_text(event_time: datetime) -> str:
    """The event time as an event spells it: ISO 8601, UTC, microseconds."""
    return f"{event_time.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
