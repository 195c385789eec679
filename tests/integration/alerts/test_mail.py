"""Alerts over real SMTP."""

from __future__ import annotations

import json

import pytest

from medallion_contracts.errors import GoldError, ServiceUnavailable
from medallion_ops.alerts.alert import Alert
from medallion_ops.alerts.failures import mail_failure
from medallion_ops.alerts.sending import send
from services import Mail

MARKED = "marked-5ecret"


class Task:
    """A task instance, as far as a callback looks at it."""

    dag_id = "customers_gold"
    task_id = "publish"
    run_id = "manual__2026-11-24"
    try_number = 1


def connect(monkeypatch: pytest.MonkeyPatch, host: str, port: int) -> None:
    extra = {"disable_ssl": True, "disable_tls": True, "retry_limit": 1, "timeout": 2}
    connection = {"conn_type": "smtp", "host": host, "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("MEDALLION_ALERT_TO", "data@example.com,ops@example.com")
    monkeypatch.setenv("MEDALLION_ALERT_FROM", "medallion@example.com")
    monkeypatch.setenv("MEDALLION_AIRFLOW_URL", "http://127.0.0.1:8080")


def test_a_failed_task_is_mailed_to_every_recipient(mail_sink: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, mail_sink.host, mail_sink.port)
    mail_failure({"ti": Task(), "exception": GoldError("staging is not what was written: write again")})
    (mail,) = mail_sink.messages()
    assert mail["Subject"] == "[medallion] customers_gold: publish failed"
    assert mail["To"] == "data@example.com, ops@example.com"
    text, html = (part.get_payload(decode=True) for part in mail.walk() if not part.is_multipart())
    assert b"write again" in bytes(text)
    assert b"manual__2026-11-24" in bytes(html)


def test_letters_of_any_language_arrive(mail_sink: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, mail_sink.host, mail_sink.port)
    send(Alert("Störung ü€", ["Fehler: ß"], facts={"Ö": "日本"}))
    (mail,) = mail_sink.messages()
    text, _ = (part.get_payload(decode=True) for part in mail.walk() if not part.is_multipart())
    assert isinstance(text, bytes)
    assert "日本" in text.decode()


def test_an_unreachable_mail_server_is_named_and_does_not_hide_the_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect(monkeypatch, "127.0.0.1", 9)
    with pytest.raises(ServiceUnavailable, match="smtp_default"):
        send(Alert("subject", ["lead"]))
    mail_failure({"ti": Task(), "exception": GoldError("reason")})
    assert "no failure mail was sent" in caplog.text


def test_a_login_is_never_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "127.0.0.1", 9)
    monkeypatch.setenv(
        "AIRFLOW_CONN_SMTP_DEFAULT", f"smtp://user:{MARKED}@127.0.0.1:9?retry_limit=1&timeout=2"
    )
    with pytest.raises(ServiceUnavailable) as raised:
        send(Alert("subject", ["lead"]))
    assert MARKED not in str(raised.value)
