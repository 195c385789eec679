"""What becomes of the watcher's findings from check to check: a pure function of what is known and now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from medallion_ops.monitor.problem import Problem
from medallion_ops.monitor.transitions import QUIET_AFTER_MAIL, REMIND_AFTER, REOPEN_WITHIN, Notice
from medallion_ops.watch.findings import Found, identity

CHECKS_TO_OPEN = 5
"""In a row, beside the silence that a setting names: a clock that jumps ahead makes everything look silent
until the next heartbeat or look."""
CHECKS_TO_CLOSE = 2


@dataclass(frozen=True)
class Trouble:
    """A problem and what was made of it: an incident once it is opened. Times are UTC."""

    problem: Problem
    since: datetime
    checks: int = 1
    clear_checks: int = 0
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    seen_at: datetime | None = None
    mailed: Notice | None = None
    mailed_at: datetime | None = None
    is_acknowledged: bool = False
    is_recorded: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is an incident that is not over."""
        return self.opened_at is not None and self.closed_at is None

    @property
    def key(self) -> str:
        """Names the incident for good."""
        code, subject = identity(self.problem)
        return f"{code} {subject} {self.opened_at.isoformat() if self.opened_at else ''}"


def advance(
    known: Iterable[Trouble], found: Found, now: datetime, *, silence: timedelta, is_quiet: bool
) -> list[Trouble]:
    """The troubles after a check; one whose `mailed_at` is now is due for a mail.

    Args:
        known: those before.
        found: of this check.
        now: UTC.
        silence: how long a problem may last before it is an incident.
        is_quiet: planned work: no mails meanwhile.
    """
    before: dict[tuple[str, str], Trouble] = {}
    history = []
    for one in sorted(known, key=lambda one: one.since):
        if one.closed_at is not None and now - one.closed_at > REOPEN_WITHIN:
            history.append(one)
        else:
            before[identity(one.problem)] = one
    after = [
        _seen(before.pop(identity(problem), None), problem, since, now, silence)
        for problem, since in found.problems
    ]
    for name, trouble in before.items():
        if trouble.closed_at is not None:
            after.append(replace(trouble, checks=0))
        elif name in found.unknown:
            after.append(trouble)
        elif trouble.opened_at is not None:
            after.append(_not_seen(trouble, now))
    return [*history, *(_noticed(one, now, is_quiet) for one in after)]


def _seen(
    trouble: Trouble | None, problem: Problem, since: datetime, now: datetime, silence: timedelta
) -> Trouble:
    since = min(since, now)
    if trouble is None:
        return Trouble(problem, since, seen_at=now)
    changed = replace(trouble, problem=problem, seen_at=now, clear_checks=0, is_recorded=False)
    if changed.is_open:
        return changed
    if changed.closed_at is not None and changed.checks == 0:
        changed = replace(changed, since=since)  # the silence is counted from its return
    changed = replace(changed, checks=changed.checks + 1)
    if changed.checks < CHECKS_TO_OPEN or now - min(changed.since, now) < silence:
        return changed
    return replace(changed, opened_at=changed.opened_at or now, closed_at=None)


def _not_seen(trouble: Trouble, now: datetime) -> Trouble:
    clear = trouble.clear_checks + 1
    closed_at = now if clear >= CHECKS_TO_CLOSE else None
    checks = 0 if closed_at else trouble.checks
    return replace(trouble, clear_checks=clear, closed_at=closed_at, checks=checks, is_recorded=False)


def _noticed(trouble: Trouble, now: datetime, is_quiet: bool) -> Trouble:
    notice = _due(trouble, now)
    if notice is None or (is_quiet and notice is not Notice.CLOSED):
        return trouble
    return replace(trouble, mailed=notice, mailed_at=now)


def _due(trouble: Trouble, now: datetime) -> Notice | None:
    people_know = trouble.mailed in (Notice.OPENED, Notice.REMINDER)
    age = now - trouble.mailed_at if trouble.mailed_at else None
    if trouble.closed_at is not None:
        return Notice.CLOSED if people_know else None
    if trouble.opened_at is None:
        return None
    if not people_know:  # new, held back by planned work, or back soon after its end
        return Notice.OPENED if age is None or age >= QUIET_AFTER_MAIL else None
    is_due = age is not None and age >= REMIND_AFTER and not trouble.is_acknowledged
    return Notice.REMINDER if is_due else None
