"""The cards: each layer of each dataset, its rows, its last hour, its freshness against the service level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from medallion_ops.monitor.limits import ServiceLevels

LOOK_IS_OLD_SECONDS = 360
"""Three looks of the monitor have failed by then."""


@dataclass(frozen=True)
class Card:
    """A layer of a dataset. `freshness` is the age of the oldest record not in it, `limit` the promise.

    `state` is good, bad, or unknown: without a service level or a recent look there is nothing to compare.
    `trouble` is what keeps the layer from getting on, though it may still be within its limit;
    `notes` are what the stream warns of.
    """

    layer: str
    tables: tuple[tuple[str, int, int | None], ...]
    counted_at: datetime | None
    freshness: float | None
    limit: float | None
    state: str
    trouble: str | None = None
    notes: tuple[str, ...] = ()


def cards(
    levels: ServiceLevels,
    sample: Mapping[str, Any] | None,
    counts: Mapping[tuple[str, str], tuple[int, datetime]],
    hour: Mapping[tuple[str, str], int],
    blocked_since: datetime | None = None,
) -> list[Card]:
    """The cards of a dataset.

    Args:
        levels: what its contracts promise.
        sample: the monitor's last look at it; None for none.
        counts: rows and time of count by (layer, table).
        hour: rows of the last hour by (layer, table).
        blocked_since: when the gate began to hold gold back; None when it does not.
    """
    is_recent = sample is not None and sample["age"] <= LOOK_IS_OLD_SECONDS
    seen = dict(sample) if sample is not None and is_recent else {}
    promised = {
        "bronze": (seen.get("backlog_age"), levels.silver_freshness),
        "silver": (seen.get("backlog_age"), levels.silver_freshness),
        "quarantine": (_quarantined_percent(hour if is_recent else {}), levels.quarantine_percent),
        "gold": (seen.get("pending_age"), levels.gold_freshness),
    }
    notes = tuple(seen.get("stream_notes") or ())
    of_stream = "the stream gave up: see Incidents" if seen.get("stream_failed") else None
    of_gold = _trouble_of_gold(blocked_since, seen.get("failed_runs"))
    trouble = {"bronze": of_stream, "silver": of_stream, "gold": of_gold}
    return [
        Card(
            layer,
            tuple(
                (table, rows, hour.get((layer, table)))
                for (of, table), (rows, _) in sorted(counts.items())
                if of == layer
            ),
            min((at for (of, _), (_, at) in counts.items() if of == layer), default=None),
            value,
            limit,
            "bad" if trouble.get(layer) else _state(value, limit),
            trouble.get(layer),
            notes if layer == "bronze" else (),
        )
        for layer, (value, limit) in promised.items()
    ]


def _trouble_of_gold(blocked_since: datetime | None, failed_runs: int | None) -> str | None:
    """What keeps gold from the next publication, for people; None when nothing is known to."""
    parts = []
    if blocked_since is not None:
        parts.append(f"blocked by the gate since {blocked_since.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    if failed_runs:
        parts.append("the last run failed" if failed_runs == 1 else f"the last {failed_runs} runs failed")
    return "; ".join(parts) or None


def _state(value: float | None, limit: float | None) -> str:
    if value is None or limit is None:
        return "unknown"
    return "good" if value <= limit else "bad"


def _quarantined_percent(hour: Mapping[tuple[str, str], int]) -> float | None:
    read = hour.get(("bronze", "bronze"))
    return 100 * hour.get(("quarantine", "quarantine"), 0) / read if read else None
