"""The daily mail that proves the mail path, over a real Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import psycopg
import pytest

from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.monitor.canary import canary_problem
from settings_of_tests import settings

START = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
LOOK = timedelta(minutes=2)
HOUR = timedelta(hours=1)
TO = "canary@example.com"


class MailPath:
    """A mail server that is up, down, or takes mails that never arrive."""

    def __init__(self, gold: str, maildir: Path) -> None:
        self.gold, self.maildir, self.now = gold, maildir, START
        self.is_up = self.arrives = True
        self.refuses = False
        self.sent: list[str] = []
        self.settings = settings(CANARY_TO=TO, CANARY_MAILDIR=str(maildir))
        (maildir / "new").mkdir(parents=True)

    def deliver(self, email: EmailMessage, recipients: Sequence[str]) -> Mapping[str, str]:
        if not self.is_up:
            raise ServiceUnavailable("no answer")
        if self.refuses:
            return {TO: "550"}
        self.sent.append(str(email["Message-ID"]))
        if self.arrives:
            (self.maildir / "new" / f"{len(self.sent)}").write_bytes(email.as_bytes())
        return {}

    def look(self, times: int = 1, every: timedelta = LOOK) -> list[str | None]:
        found = []
        for _ in range(times):
            with psycopg.connect(self.gold) as connection:
                found.append(canary_problem(connection, self.settings, self.now, self.deliver))
            self.now += every
        return found


@pytest.fixture
def path(empty_gold: str, tmp_path: Path) -> MailPath:
    """A mail path that is well, and no canary yet."""
    return MailPath(empty_gold, tmp_path / "mail")


def test_one_mail_a_day_and_nothing_is_wrong_while_it_arrives(path: MailPath) -> None:
    assert set(path.look(3 * 24, HOUR)) == {None}
    assert len(path.sent) == len(set(path.sent)) == 3


def test_a_mail_server_that_takes_no_mail_is_a_problem_until_it_takes_the_same_one(path: MailPath) -> None:
    path.is_up = False
    found = path.look(10)
    assert found[:3] == [None, None, None], "five minutes may pass"
    assert "no answer" in str(found[-1])
    path.is_up = True
    assert path.look(3)[-1] is None
    assert len(path.sent) == 1


def test_a_refused_recipient_is_a_problem(path: MailPath) -> None:
    path.refuses = True
    assert "550" in str(path.look(5)[-1])


def test_a_mail_that_is_taken_and_does_not_arrive_is_a_problem_until_one_does(path: MailPath) -> None:
    path.arrives = False
    assert "not in" in str(path.look(5)[-1])
    assert None not in path.look(2 * 24, HOUR), "a new day's mail is no better news by itself"
    path.arrives = True
    assert path.look(24, HOUR)[-1] is None


def test_without_a_mailbox_to_look_into_an_accepted_mail_is_enough(path: MailPath) -> None:
    path.settings, path.arrives = settings(CANARY_TO=TO), False
    assert set(path.look(10)) == {None}


def test_without_an_address_there_is_no_canary(path: MailPath) -> None:
    path.settings = settings()
    assert path.look() == [None]
    assert not path.sent


def test_a_clock_that_jumps_back_by_days_still_sends_one_a_day(path: MailPath) -> None:
    path.look()
    path.now -= timedelta(days=10)
    path.look(3)
    assert len(path.sent) == 2
