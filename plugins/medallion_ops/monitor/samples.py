"""What each look saw of a dataset (audit.monitor_samples): the recent past without reading the lake."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from medallion_ops.monitor.observation import Counts, DatasetObservation

if TYPE_CHECKING:
    import psycopg

KEPT = timedelta(days=30)
RECENT = timedelta(minutes=10)
"""The period whose share of quarantined records is judged."""
DAY = timedelta(days=1)
_SUMS = "read, silver, duplicate, late, rejected, lost, gaps, unbalanced"


def last_sequence(connection: psycopg.Connection, dataset: str) -> int | None:
    """The newest micro-batch of the ledger that a sample includes; None before the first sample.

    Args:
        connection: to gold, as the writer.
        dataset: its name.
    """
    row = connection.execute(
        "SELECT ledger_sequence FROM audit.monitor_samples WHERE dataset = %s ORDER BY at DESC LIMIT 1",
        [dataset],
    ).fetchone()
    return None if row is None else int(row[0] or 0)


def sums(connection: psycopg.Connection, dataset: str, start: datetime, until: datetime) -> Counts:
    """Records of the samples after `start`, up to `until`.

    Args:
        connection: to gold, as the writer.
        dataset: its name.
        start: UTC.
        until: UTC.
    """
    columns = ", ".join(f"coalesce(sum({name}), 0)::bigint" for name in _SUMS.split(", "))
    row = connection.execute(
        f"SELECT {columns} FROM audit.monitor_samples WHERE dataset = %s AND at > %s AND at <= %s".encode(),
        [dataset, start, until],
    ).fetchone()
    return Counts(*row) if row else Counts()


def record(
    connection: psycopg.Connection,
    seen: DatasetObservation,
    now: datetime,
    sequence: int | None,
    batches: int,
    new: Counts,
) -> None:
    """Keep a sample, and drop those older than KEPT.

    Args:
        connection: to gold, as the writer.
        seen: the dataset.
        now: UTC.
        sequence: newest micro-batch included.
        batches: micro-batches since the sample before.
        new: their records.
    """
    stream = seen.stream
    connection.execute(
        f"INSERT INTO audit.monitor_samples (dataset, at, ledger_sequence, batches, {_SUMS}, heartbeat_age, "
        "backlog_records, backlog_age, latency_p95, pending_age, failed_runs, stream_failed, stream_notes) "
        f"VALUES ({', '.join(['%s'] * 20)}) ON CONFLICT DO NOTHING".encode(),
        [
            seen.dataset,
            now,
            sequence,
            batches,
            new.read,
            new.silver,
            new.duplicate,
            new.late,
            new.rejected,
            new.lost,
            new.gaps,
            new.unbalanced,
            stream.heartbeat_age,
            stream.backlog_records,
            stream.backlog_age,
            stream.latency_p95,
            seen.gold.pending_age,
            seen.gold.failed_runs,
            stream.failure is not None,
            list(stream.warnings),
        ],
    )
    connection.execute(
        "DELETE FROM audit.monitor_samples WHERE dataset = %s AND at < %s", [seen.dataset, now - KEPT]
    )
