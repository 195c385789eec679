"""One thing that is wrong with the platform, as the rules say it and incidents keep it."""

from __future__ import annotations

from dataclasses import dataclass

from medallion_ops.alerts.alert import Level


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `code`, `dataset` and `subject` together identify its incident.

    `code` is the anchor of its paragraph in the runbooks, too.
    """

    code: str
    happened: str
    meaning: str
    first_step: str
    dataset: str = ""
    subject: str = ""
    level: Level = Level.CRITICAL


def exceeds(value: float | None, limit: float | None) -> bool:
    """Whether a value is over a limit; false where either is unknown."""
    return value is not None and limit is not None and value > limit


def span(seconds: float | None) -> str:
    """A duration for people: 45 s, 12 min, 3.5 h, 2.1 days."""
    value = seconds or 0.0
    if value < 120:
        return f"{value:.0f} s"
    if value < 7_200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h" if value < 172_800 else f"{value / 86_400:.1f} days"
