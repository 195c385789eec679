"""What becomes of incidents when the monitor has looked again: a pure function of what is open and now.

A mail goes out when an incident opens, each day while it stays open, and when it closes. An incident closes
after it was not seen in two looks. One that comes back soon is the same incident: it opens again, with a mail
only when the last one is some time ago, so that a limit that is just passed again and again floods no one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from medallion_ops.monitor.problem import Problem

REMIND_AFTER = timedelta(days=1)
CLOSE_AFTER_LOOKS = 2
REOPEN_WITHIN = timedelta(minutes=30)
QUIET_AFTER_MAIL = timedelta(minutes=30)


class Notice(StrEnum):
    """Why a mail is due."""

    OPENED = "opened"
    REMINDER = "reminder"
    CLOSED = "closed"


@dataclass(frozen=True)
class Incident:
    """A row of audit.incidents. Times are UTC; `clear_looks` counts looks that did not see it.

    `mailed` is the last notice that people got and `mailed_at` when; None before the first.
    """

    incident_id: int
    code: str
    dataset: str
    subject: str
    opened_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None = None
    clear_looks: int = 0
    acknowledged_at: datetime | None = None
    muted_until: datetime | None = None
    mailed: Notice | None = None
    mailed_at: datetime | None = None

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes two problems the same incident."""
        return self.code, self.dataset, self.subject


@dataclass(frozen=True)
class Window:
    """A planned maintenance: no mails meanwhile. An empty dataset means all."""

    starts_at: datetime
    ends_at: datetime
    dataset: str = ""


@dataclass(frozen=True)
class Change:
    """What happens to one incident: `incident` is None for a new one, `problem` when it is not seen."""

    incident: Incident | None
    problem: Problem | None
    closes: bool = False
    reopens: bool = False
    notice: Notice | None = None


def changes(
    known: Sequence[Incident], seen: Iterable[Problem], windows: Sequence[Window], now: datetime
) -> list[Change]:
    """What to do about each incident.

    Args:
        known: open incidents, and those closed within REOPEN_WITHIN.
        seen: the problems of this look.
        windows: planned maintenance.
        now: UTC.
    """
    by_identity: dict[tuple[str, str, str], Incident] = {}
    for incident in sorted(known, key=lambda one: one.opened_at):
        by_identity[incident.identity] = incident
    found = {(one.code, one.dataset, one.subject): one for one in seen}
    result = [_seen(by_identity.get(identity), one, windows, now) for identity, one in found.items()]
    result += [
        _not_seen(incident, windows, now)
        for identity, incident in by_identity.items()
        if identity not in found and incident.closed_at is None
    ]
    return result


def _seen(incident: Incident | None, problem: Problem, windows: Sequence[Window], now: datetime) -> Change:
    quiet = _is_quiet(problem.dataset, incident, windows, now)
    if incident is None or (incident.closed_at is not None and now - incident.closed_at > REOPEN_WITHIN):
        return Change(None, problem, notice=None if quiet else Notice.OPENED)
    reopens = incident.closed_at is not None
    notice = None
    if not quiet:
        notice = _reopened_notice(incident, now) if reopens else _open_notice(incident, now)
    return Change(incident, problem, reopens=reopens, notice=notice)


def _open_notice(incident: Incident, now: datetime) -> Notice | None:
    if incident.mailed is None or incident.mailed_at is None:
        return Notice.OPENED  # it was muted, or opened while mails could not be written
    if incident.mailed is Notice.CLOSED:
        return _reopened_notice(incident, now)
    if incident.acknowledged_at is None and now - incident.mailed_at >= REMIND_AFTER:
        return Notice.REMINDER
    return None


def _reopened_notice(incident: Incident, now: datetime) -> Notice | None:
    is_recent = incident.mailed_at is not None and now - incident.mailed_at < QUIET_AFTER_MAIL
    return None if is_recent else Notice.OPENED


def _not_seen(incident: Incident, windows: Sequence[Window], now: datetime) -> Change:
    closes = incident.clear_looks + 1 >= CLOSE_AFTER_LOOKS
    people_know = incident.mailed in (Notice.OPENED, Notice.REMINDER)
    notice = Notice.CLOSED if closes and people_know else None
    return Change(incident, None, closes=closes, notice=notice)


def _is_quiet(dataset: str, incident: Incident | None, windows: Sequence[Window], now: datetime) -> bool:
    if incident is not None and incident.muted_until is not None and now < incident.muted_until:
        return True
    return any(
        window.starts_at <= now < window.ends_at and window.dataset in ("", dataset) for window in windows
    )
