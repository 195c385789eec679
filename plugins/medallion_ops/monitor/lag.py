"""How far a stream is behind: what waits, what open transactions hold back, and when that is not known."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from medallion_ops.monitor.kafka_view import Backlog
from medallion_ops.monitor.observation import StreamObservation


def with_lag(
    stream: StreamObservation, waiting: Backlog, now: datetime, *, has_batches: bool
) -> StreamObservation:
    """The stream with its lag; None where it is not known, which is never the same as 0.

    Offsets say nothing when another log, or none, is behind a topic's name. And where no batch was committed
    yet, or the stream gave up, that nothing seems to wait proves nothing.

    Args:
        stream: as its files say it.
        waiting: what the broker would give to a reader that goes on from the ledger.
        now: UTC.
        has_batches: whether the ledger has any.
    """
    records = waiting.records + stream.held_back
    ages = [
        0.0,
        *([(now - waiting.oldest).total_seconds()] if waiting.oldest else []),
        *([stream.held_back_age] if stream.held_back_age else []),
    ]
    is_proven = has_batches and stream.failure is None
    is_unknown = (
        stream.has_other_log or bool(waiting.shrunk or waiting.missing) or (records == 0 and not is_proven)
    )
    return replace(
        stream,
        backlog_records=None if is_unknown else records,
        backlog_age=None if is_unknown else max(ages),
        shrunk=waiting.shrunk,
    )
