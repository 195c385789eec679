"""One mail when trouble starts, one when it changes, one when it is over."""

from __future__ import annotations

import psycopg
import pytest

from medallion_contracts.model import Severity
from medallion_ops.gate.episodes import Kind, close, note_mail, note_verdict, open_episode
from medallion_ops.gate.verdict import Finding, Verdict
from staged_sets import GoldDatabase


def verdict(*failed: str, severity: Severity = Severity.CRITICAL) -> Verdict:
    findings = [
        Finding("customers", name, "expect", "A rule.", severity, True, False, 1, 1) for name in failed
    ]
    return Verdict(1, "hash", tuple(findings))


@pytest.fixture
def connection(gold: GoldDatabase) -> psycopg.Connection:
    return psycopg.connect(gold.dsn, autocommit=True)


def mails_due(connection: psycopg.Connection, found: Verdict, base: int | None = None) -> list[str]:
    """What `notify` does: note, mail what is due, note the mail."""
    due = []
    for episode in note_verdict(connection, "customers", found, base):
        if episode.is_mail_due:
            due.append(("new " if episode.is_new else "changed ") + episode.kind)
            note_mail(connection, episode)
    return due


def test_a_blocked_episode_is_mailed_once_however_long_it_lasts(connection: psycopg.Connection) -> None:
    assert [mails_due(connection, verdict("a", "b")) for _ in range(3)] == [["new blocked"], [], []]


def test_other_failures_are_mailed_as_a_change(connection: psycopg.Connection) -> None:
    mails_due(connection, verdict("a"))

    assert mails_due(connection, verdict("a", "b")) == ["changed blocked"]
    assert mails_due(connection, verdict("b", "a")) == []


def test_a_mail_that_was_not_sent_stays_due(connection: psycopg.Connection) -> None:
    note_verdict(connection, "customers", verdict("a"), None)

    assert mails_due(connection, verdict("a")) == ["new blocked"]


def test_a_publication_ends_it_and_the_next_failure_is_a_new_one(connection: psycopg.Connection) -> None:
    mails_due(connection, verdict("a"))
    blocked = open_episode(connection, "customers", Kind.BLOCKED)
    assert blocked is not None

    close(connection, blocked)

    assert open_episode(connection, "customers", Kind.BLOCKED) is None
    assert mails_due(connection, verdict("a")) == ["new blocked"]


def test_a_block_after_another_publication_is_news_even_if_the_end_of_the_last_was_not_told(
    connection: psycopg.Connection,
) -> None:
    assert mails_due(connection, verdict("a"), base=1) == ["new blocked"]
    assert mails_due(connection, verdict("a"), base=2) == ["new blocked"]
    assert mails_due(connection, verdict("a"), base=2) == []


def test_warnings_are_mailed_once_and_end_silently(connection: psycopg.Connection) -> None:
    warned = verdict("w", severity=Severity.WARNING)

    assert [mails_due(connection, found) for found in (warned, warned, verdict(), warned)] == [
        ["new warned"],
        [],
        [],
        ["new warned"],
    ]


def test_a_passing_set_does_not_end_a_blocked_episode_before_it_is_published(
    connection: psycopg.Connection,
) -> None:
    mails_due(connection, verdict("a"))

    assert mails_due(connection, verdict()) == []
    assert open_episode(connection, "customers", Kind.BLOCKED) is not None
