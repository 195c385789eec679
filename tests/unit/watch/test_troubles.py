"""From the watcher's checks to its mails, with a simulated clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from medallion_ops.monitor.transitions import Notice
from medallion_ops.watch.findings import MONITOR, POSTGRES, Found, identity
from medallion_ops.watch.troubles import Trouble, advance

START = datetime(2026, 11, 28, tzinfo=UTC)
CHECK = timedelta(seconds=30)
SILENCE = timedelta(minutes=3)


class Simulated:
    """A watcher's troubles from check to check, and the mails it sent."""

    def __init__(self) -> None:
        self.now = START
        self.troubles: Sequence[Trouble] = ()
        self.mails: list[tuple[Notice, datetime]] = []

    def check(self, found: Found, times: int = 1, *, is_quiet: bool = False) -> None:
        for _ in range(times):
            self.troubles = advance(self.troubles, found, self.now, silence=SILENCE, is_quiet=is_quiet)
            self.mails += [
                (one.mailed, self.now) for one in self.troubles if one.mailed and one.mailed_at == self.now
            ]
            self.now += CHECK

    @property
    def notices(self) -> list[Notice]:
        return [notice for notice, _ in self.mails]


def down(since: datetime = START) -> Found:
    return Found(((POSTGRES, since),))


def test_silence_is_mailed_within_six_minutes_and_so_is_its_end() -> None:
    clock = Simulated()
    clock.check(down(), 20)
    over = clock.now
    clock.check(Found(), 10)
    assert clock.notices == [Notice.OPENED, Notice.CLOSED]
    opened, closed = (at for _, at in clock.mails)
    assert SILENCE <= opened - START <= timedelta(minutes=6)
    assert closed - over <= timedelta(minutes=6)


def test_a_restart_shorter_than_the_limit_sends_nothing() -> None:
    clock = Simulated()
    for _ in range(50):
        clock.check(down(clock.now), 6)
        clock.check(Found())
    assert not clock.mails


def test_a_quiet_day_sends_nothing() -> None:
    clock = Simulated()
    clock.check(Found(), 2 * 60 * 24)
    assert not clock.mails


def test_what_lasts_is_reminded_of_daily() -> None:
    clock = Simulated()
    clock.check(down(), 3 * 2 * 60 * 24)
    assert clock.notices == [Notice.OPENED, Notice.REMINDER, Notice.REMINDER]


def test_what_could_not_be_asked_neither_opens_nor_closes() -> None:
    clock = Simulated()
    clock.check(Found(((MONITOR, START),)), 10)
    clock.check(Found(unknown=frozenset({identity(MONITOR)})), 30)
    assert clock.notices == [Notice.OPENED]
    clock.check(Found(), 2)
    assert clock.notices == [Notice.OPENED, Notice.CLOSED]


def test_a_clock_that_jumps_ahead_is_no_silence() -> None:
    clock = Simulated()
    clock.check(Found())
    clock.now += timedelta(hours=5)
    # Every heartbeat and look is hours old until the next one: two minutes at most.
    clock.check(down(START), 4)
    clock.check(Found(), 10)
    assert not clock.mails


def test_a_clock_that_jumps_back_mails_nothing_twice() -> None:
    clock = Simulated()
    clock.check(down(), 10)
    clock.now -= timedelta(hours=5)
    clock.check(down(), 20)
    clock.check(Found(), 10)
    assert clock.notices == [Notice.OPENED, Notice.CLOSED]


def test_what_comes_and_goes_floods_no_one() -> None:
    clock = Simulated()
    for _ in range(24):  # two hours, five minutes each
        clock.check(down(clock.now), 8)
        clock.check(Found(), 2)
    assert len({one.key for one in clock.troubles}) == 1
    assert len(clock.mails) <= 10


def test_planned_work_holds_mails_back_until_it_is_over() -> None:
    clock = Simulated()
    clock.check(down(), 40, is_quiet=True)
    assert not clock.mails
    clock.check(down())
    assert clock.notices == [Notice.OPENED]


def test_another_outage_later_is_another_incident() -> None:
    clock = Simulated()
    clock.check(down(), 10)
    clock.check(Found(), 100)
    clock.check(down(clock.now), 10)
    assert clock.notices == [Notice.OPENED, Notice.CLOSED, Notice.OPENED]
    assert len({one.key for one in clock.troubles}) == 2
