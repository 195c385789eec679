"""Alerts that a mail server or webhook does not take are kept, and sent later, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest
from aiosmtpd.controller import Controller

from medallion_contracts.errors import ServiceUnavailable
from medallion_contracts.loader import load_dataset
from medallion_ops.alerts.alert import Alert
from medallion_ops.alerts.sending import Delivery, send, send_waiting
from medallion_ops.migrations.runner import migrate
from medallion_stack.ports import free_port
from medallion_store.secret import Secret

ALERT = Alert("gold is blocked", ["Something failed."], key="one")


class Mailbox:
    """What a mail server got; `refuses` is its answer to a recipient."""

    def __init__(self) -> None:
        self.refuses: dict[str, str] = {}
        self.got: list[tuple[list[str], Message]] = []

    async def handle_RCPT(  # aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.got.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content)))
        return "250 OK"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def mailbox(port: int) -> Iterator[Mailbox]:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box
    controller.stop()


@pytest.fixture
def gold(postgres: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated gold database that the settings name, with a mail server on `port`."""
    migrate(Secret(postgres), load_dataset("customers"))
    extra = {"disable_ssl": True, "disable_tls": True, "retry_limit": 1, "timeout": 2}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("MEDALLION_ALERT_TO", "a@example.com,b@example.com")
    monkeypatch.setenv("MEDALLION_ALERT_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setenv("MEDALLION_GOLD_DSN", postgres)
    return postgres


def due_now(dsn: str) -> int:
    """Let every entry be tried again at once; gives how many there are."""
    with psycopg.connect(dsn) as connection:
        return connection.execute("UPDATE audit.outbox SET next_attempt_at = '-infinity'").rowcount


def test_a_mail_server_that_is_away_fails_nothing_and_gets_the_alert_later(gold: str, port: int) -> None:
    assert send(ALERT) is Delivery.KEPT
    assert send(ALERT) is Delivery.KEPT, "the same alert is kept once"
    assert due_now(gold) == 1
    assert send_waiting() == 0

    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        due_now(gold)
        assert send_waiting() == 1
        assert send_waiting() == 0
    finally:
        controller.stop()
    [(recipients, mail)] = box.got
    assert recipients == ["a@example.com", "b@example.com"]
    assert mail["Subject"] == "[medallion] gold is blocked"
    assert mail["Date"]
    assert mail["Message-ID"]


@pytest.mark.parametrize("answer", ["450 mailbox busy", "550 no such user"])
def test_a_refused_recipient_is_tried_again_and_the_others_get_it_once(
    gold: str, mailbox: Mailbox, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.refuses = {"b@example.com": answer}
    assert send(ALERT) is Delivery.KEPT
    assert "b@example.com" in caplog.text
    assert answer[:3] in caplog.text

    due_now(gold)
    send_waiting()
    mailbox.refuses = {}
    due_now(gold)
    assert send_waiting() == 1
    assert [recipients for recipients, _ in mailbox.got] == [["a@example.com"], ["b@example.com"]]


def test_every_recipient_refused_keeps_the_alert_for_all(gold: str, mailbox: Mailbox) -> None:
    mailbox.refuses = dict.fromkeys(("a@example.com", "b@example.com"), "451 try later")
    assert send(ALERT) is Delivery.KEPT
    mailbox.refuses = {}
    due_now(gold)
    assert send_waiting() == 1
    assert mailbox.got[0][0] == ["a@example.com", "b@example.com"]


def test_while_postgres_is_away_too_alerts_are_files_that_it_takes_over(
    gold: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_GOLD_DSN", "postgresql://writer@127.0.0.1:9/gold")
    assert send(ALERT) is Delivery.KEPT
    [kept] = (tmp_path / "outbox").glob("*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ServiceUnavailable):
        send_waiting()

    monkeypatch.setenv("MEDALLION_GOLD_DSN", gold)
    (tmp_path / "outbox" / "broken.json").write_text("{")
    send_waiting()
    assert [path.name for path in (tmp_path / "outbox").iterdir()] == ["broken.json"]
    assert due_now(gold) == 1


def test_an_alert_that_can_be_kept_nowhere_says_so(gold: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_GOLD_DSN", "postgresql://writer@127.0.0.1:9/gold")
    monkeypatch.delenv("MEDALLION_ALERT_OUTBOX")
    with pytest.raises(ServiceUnavailable, match="MEDALLION_ALERT_OUTBOX"):
        send(ALERT)


def test_an_alert_that_no_one_takes_for_days_is_dropped_with_an_error(
    gold: str, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.refuses = {"b@example.com": "550 no such user"}
    send(ALERT)
    with psycopg.connect(gold) as connection:
        connection.execute(
            "UPDATE audit.outbox SET next_attempt_at = '-infinity', kept_at = kept_at - interval '4 days'"
        )
    send_waiting()
    assert "is dropped" in caplog.text
    assert due_now(gold) == 0


@pytest.fixture
def hook_posts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a webhook got; it refuses the first post."""
    posts: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if len(posts) == 1 else 200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Nothing: the test's output stays clean."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv(
        "MEDALLION_ALERT_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hook?routing_key=key-1"
    )
    monkeypatch.setenv("MEDALLION_ALERT_WEBHOOK_FORMAT", "pagerduty")
    yield posts
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_every_alert_and_what_it_refused_once_more(
    gold: str, mailbox: Mailbox, hook_posts: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    assert send(ALERT) is Delivery.KEPT
    assert "key-1" not in caplog.text
    due_now(gold)
    assert send_waiting() == 1
    assert hook_posts[0] == hook_posts[1]
    assert hook_posts[1]["routing_key"] == "key-1"
    assert len(mailbox.got) == 1, "the mail was out the first time"
