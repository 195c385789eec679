"""What becomes of incidents from look to look, with a simulated clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from medallion_ops.monitor.problem import Problem
from medallion_ops.monitor.transitions import Incident, Notice, Window, changes

START = datetime(2026, 11, 28, tzinfo=UTC)
LOOK = timedelta(minutes=2)
STALE = Problem("gold_stale", "old", "old values", "look", "customers")


@dataclass
class Simulated:
    """Incidents as Postgres would hold them, and the mails that went out."""

    now: datetime = START
    incidents: list[Incident] = field(default_factory=list)
    mails: list[tuple[str, Notice, datetime]] = field(default_factory=list)

    def look(self, *seen: Problem, windows: Sequence[Window] = ()) -> None:
        for change in changes(self.incidents, seen, windows, self.now):
            incident = change.incident
            if incident is None:
                assert change.problem is not None
                one = change.problem
                incident = Incident(
                    len(self.incidents) + 1, one.code, one.dataset, one.subject, self.now, self.now
                )
                self.incidents.append(incident)
            after = replace(
                incident,
                last_seen_at=self.now if change.problem else incident.last_seen_at,
                clear_looks=0 if change.problem else incident.clear_looks + 1,
                closed_at=self.now if change.closes else None if change.problem else incident.closed_at,
            )
            if change.notice:
                after = replace(after, mailed=change.notice, mailed_at=self.now)
                self.mails.append((incident.code, change.notice, self.now))
            self.incidents[incident.incident_id - 1] = after
        self.now += LOOK

    @property
    def notices(self) -> list[Notice]:
        return [notice for _, notice, _ in self.mails]


def test_one_mail_when_it_opens_and_one_when_it_is_over() -> None:
    clock = Simulated()
    for _ in range(10):
        clock.look(STALE)
    for _ in range(10):
        clock.look()
    assert clock.notices == [Notice.OPENED, Notice.CLOSED]
    opened, closed = (at for _, _, at in clock.mails)
    assert opened == START
    assert closed - (START + 9 * LOOK) <= timedelta(minutes=6)


def test_a_day_without_problems_sends_nothing() -> None:
    clock = Simulated()
    for _ in range(720):
        clock.look()
    assert not clock.mails


def test_an_open_incident_is_reminded_of_once_a_day_until_someone_works_on_it() -> None:
    clock = Simulated()
    for _ in range(3 * 720):
        clock.look(STALE)
    assert clock.notices == [Notice.OPENED, Notice.REMINDER, Notice.REMINDER]
    clock.incidents = [replace(clock.incidents[0], acknowledged_at=clock.now)]
    for _ in range(3 * 720):
        clock.look(STALE)
    assert len(clock.mails) == 3


def test_a_limit_that_is_just_passed_again_and_again_floods_no_one() -> None:
    clock = Simulated()
    for _ in range(30):
        clock.look(STALE)
        clock.look()
        clock.look()
    assert len(clock.incidents) == 1
    hours = 30 * 3 * LOOK / timedelta(hours=1)
    assert clock.notices.count(Notice.OPENED) <= 2 * hours + 1


def test_one_look_without_it_is_not_its_end() -> None:
    clock = Simulated()
    for _ in range(5):
        clock.look(STALE)
        clock.look()
    assert clock.notices == [Notice.OPENED]


def test_a_muted_incident_is_kept_and_mailed_when_the_mute_ends() -> None:
    clock = Simulated()
    clock.look(STALE)
    clock.incidents = [
        replace(clock.incidents[0], muted_until=clock.now + timedelta(hours=30), acknowledged_at=None)
    ]
    for _ in range(29 * 30):
        clock.look(STALE)
    assert clock.notices == [Notice.OPENED]
    for _ in range(60):
        clock.look(STALE)
    assert clock.notices == [Notice.OPENED, Notice.REMINDER]


def test_planned_work_holds_mails_back_and_what_stays_wrong_afterwards_is_mailed() -> None:
    clock = Simulated()
    window = Window(START, START + timedelta(hours=1), "customers")
    for _ in range(30):
        clock.look(STALE, windows=[window])
    assert not clock.mails
    clock.look(STALE, windows=[window])
    assert clock.notices == [Notice.OPENED]


def test_what_began_and_ended_during_planned_work_is_history_without_a_mail() -> None:
    clock = Simulated()
    window = Window(START, START + timedelta(hours=1))
    clock.look(STALE, windows=[window])
    for _ in range(5):
        clock.look(windows=[window])
    assert not clock.mails
    assert clock.incidents[0].closed_at is not None


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_people_are_told_of_an_end_only_after_a_beginning_and_know_of_what_lasts(seen: list[bool]) -> None:
    clock = Simulated()
    for is_there in seen:
        clock.look(*([STALE] if is_there else []))
    known = False
    for notice in clock.notices:
        if notice is Notice.CLOSED:
            assert known
        known = notice is not Notice.CLOSED
    open_ones = [one for one in clock.incidents if one.closed_at is None]
    assert len(open_ones) <= 1
