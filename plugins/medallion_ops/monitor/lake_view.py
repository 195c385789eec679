"""What the monitor reads in the lake, by deltalake and as small files: never whole tables, never a JVM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from medallion_ops.monitor.observation import Counts
from medallion_store.delta_history import oldest_with_rows
from medallion_store.lake_reading import lake_reading

FIRST_LOOK_BATCHES = 1_500
"""A monitor without a past starts with about a day of micro-batches."""


@dataclass(frozen=True)
class LedgerNews:
    """Micro-batches since a look: next `offsets` by (topic, partition), `latency_p95` in seconds.

    `rows` are their rows in the ledger; `last` is its newest row, known before or not.
    """

    sequence: int | None = None
    batches: int = 0
    counts: Counts = field(default_factory=Counts)
    offsets: Mapping[tuple[str, int], int] | None = None
    committed_at: datetime | None = None
    latency_p95: float | None = None
    rows: Sequence[Mapping[str, Any]] = ()
    last: Mapping[str, Any] | None = None


def ledger_news(path: str, storage: Mapping[str, str], after: int | None) -> LedgerNews:
    """The micro-batches of the ledger after a sequence number.

    Args:
        path: of the ledger table.
        storage: login of the lake.
        after: sequence of the newest one known; None for about a day.

    Raises:
        DamagedLog: a commit file of its log is cut short.
        ServiceUnavailable: the lake does not answer.
    """
    import pyarrow.compute as pc
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    try:
        with lake_reading(path, storage):
            table = DeltaTable(path, storage_options=dict(storage))
            actions = table.get_add_actions(flatten=True)
            newest = max((one for one in actions.column("max.sequence").to_pylist() if one), default=None)
            if newest is None:
                return LedgerNews()
            # The newest row is always read: it holds the offsets.
            start = min(newest - 1, max(after or 0, newest - FIRST_LOOK_BATCHES))
            rows = table.to_pyarrow_dataset().to_table(filter=pc.field("sequence") > start).to_pylist()
    except TableNotFoundError:
        return LedgerNews()
    last = max(rows, key=lambda row: row["sequence"])
    new = [row for row in rows if row["sequence"] > (after or 0)]
    return LedgerNews(
        sequence=last["sequence"],
        batches=len(new),
        counts=_counts(new),
        offsets=_next_offsets(last["sources"]),
        committed_at=last["committed_at"],
        latency_p95=last["event_to_silver_p95"],
        rows=new,
        last=last,
    )


def _next_offsets(sources: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], int]:
    """Where reading goes on; the row that accepts another log of a topic names the old one, too."""
    in_order = sorted(sources, key=lambda one: one.get("incarnation") or 0)
    return {(one["topic"], one["partition"]): one["until_offset"] for one in in_order}


def _counts(rows: Sequence[Mapping[str, Any]]) -> Counts:
    names = ("read", "silver", "duplicate", "late", "rejected", "lost", "gaps")
    sums = {name: sum(row[name] or 0 for row in rows) for name in names}
    unbalanced = sum(
        row["read"] != row["silver"] + row["duplicate"] + row["late"] + row["rejected"] for row in rows
    )
    return Counts(**sums, unbalanced=unbalanced)


def oldest_pending(path: str, storage: Mapping[str, str], published: int | None) -> datetime | None:
    """When the oldest silver commit with rows that gold does not show was made; None when there is none.

    Args:
        path: of the silver table.
        storage: login of the lake.
        published: the silver version that gold shows; None before the first publication.

    Raises:
        DamagedLog: a commit file of its log is cut short.
        ServiceUnavailable: the lake does not answer.
    """
    return oldest_with_rows(path, storage, -1 if published is None else published)
