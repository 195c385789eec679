"""Incidents in Postgres: neither lost nor mailed twice, whoever looks and whatever is killed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from medallion_contracts.errors import ParameterError
from medallion_contracts.loader import load_dataset
from medallion_ops import incidents as command
from medallion_ops.alerts import outbox
from medallion_ops.alerts.sending import entries
from medallion_ops.migrations.runner import migrate
from medallion_ops.monitor import incidents
from medallion_ops.monitor.problem import Problem
from medallion_store.secret import Secret
from settings_of_tests import settings

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
STALE = Problem("gold_stale", "Gold is old.", "Readers see old values.", "Look.", "customers")
ALERTS = settings().alerts


@pytest.fixture
def gold(postgres: str) -> str:
    migrate(Secret(postgres), load_dataset("customers"))
    return postgres


def look(dsn: str, *seen: Problem, at: datetime = NOW, dies: bool = False) -> None:
    """A look as the monitor does it; with `dies`, killed before its commit."""
    with psycopg.connect(dsn) as connection:
        for alert in incidents.record_look(connection, seen, at, {"Airflow": "https://a.example/{code}"}):
            for entry in entries(alert, ALERTS):
                outbox.keep(connection, entry)
        if dies:
            connection.rollback()


def mails(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT content FROM audit.outbox ORDER BY kept_at").fetchall()
    return [line for (content,) in rows for line in content.splitlines() if line.startswith("Subject:")]


def test_an_incident_opens_and_closes_with_one_mail_each(gold: str) -> None:
    for minutes in range(0, 10, 2):
        look(gold, STALE, at=NOW + timedelta(minutes=minutes))
    for minutes in range(10, 20, 2):
        look(gold, at=NOW + timedelta(minutes=minutes))
    assert mails(gold) == [
        "Subject: [medallion] customers: gold stale",
        "Subject: [medallion] Over: customers: gold stale",
    ]
    with psycopg.connect(gold) as connection:
        rows = connection.execute("SELECT opened_at, closed_at FROM audit.incidents").fetchall()
    assert rows == [(NOW, NOW + timedelta(minutes=12))]


def test_a_monitor_killed_before_its_commit_loses_nothing_and_mails_once(gold: str) -> None:
    look(gold, STALE, dies=True)
    assert not mails(gold)
    look(gold, STALE, at=NOW + timedelta(minutes=2))
    assert len(mails(gold)) == 1


def test_two_monitors_at_once_open_one_incident(gold: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: look(gold, STALE), range(8)))
    assert len(mails(gold)) == 1
    with psycopg.connect(gold) as connection:
        assert connection.execute("SELECT count(*) FROM audit.incidents").fetchone() == (1,)


def test_a_clock_that_jumps_back_sends_nothing_twice(gold: str) -> None:
    look(gold, STALE)
    look(gold, STALE, at=NOW - timedelta(days=2))
    look(gold, STALE, at=NOW + timedelta(minutes=2))
    assert len(mails(gold)) == 1


def test_incidents_are_listed_acknowledged_muted_and_held_back_by_the_command(
    gold: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDALLION_GOLD_DSN", gold)
    assert command.main(["list"]) == 0
    look(gold, STALE)
    assert command.main(["acknowledge", "1"]) == 0
    assert command.main(["mute", "1", "--hours", "2"]) == 0
    assert command.main(["window", "--hours", "1", "--reason", "upgrade"]) == 0
    assert command.main(["list"]) == 0
    said = capsys.readouterr().out
    assert "no incident is open" in said
    assert "acknowledged by" in said
    assert "Gold is old." in said
    assert command.main(["acknowledge", "99"]) == 1
    look(gold, STALE, at=NOW + timedelta(days=1, minutes=2))
    assert len(mails(gold)) == 1, "no reminder of what someone works on"


def test_an_unknown_incident_is_refused(gold: str) -> None:
    with psycopg.connect(gold) as connection, pytest.raises(ParameterError, match="99"):
        incidents.mute(connection, 99, "grace", NOW)
