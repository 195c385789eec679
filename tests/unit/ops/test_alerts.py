"""Failure mails: what they tell, and what they must not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from medallion_contracts.errors import GoldError, SettingsError, StreamEnded
from medallion_ops.alerts import webhook
from medallion_ops.alerts.alert import Alert, Level
from medallion_ops.alerts.failures import (
    AlreadyMailed,
    failure_alert,
    mail_failure,
    mail_unfinished_run,
    reason,
    unfinished_run_alert,
)
from medallion_ops.alerts.mail import Mail, message, render
from settings_of_tests import settings

ALERTS = settings().alerts


@dataclass
class Task:
    dag_id: str = "customers_gold"
    task_id: str = "publish"
    run_id: str = "scheduled__2026-11-24T12:00:00+00:00"
    try_number: int = 3
    start_date: datetime | None = None


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def sent(mail: Mail) -> EmailMessage:
    wire = message(mail, ALERTS.sender, ALERTS.to).as_bytes()
    parsed = message_from_bytes(wire, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def compose(subject: str, lead: str, facts: dict[str, str], links: dict[str, str]) -> Mail:
    return render(Alert(subject, [lead], facts=facts, links=links))


def bodies(mail: Mail) -> str:
    return "".join(part.get_content() for part in sent(mail).iter_parts())


def test_a_failure_mail_names_task_run_reason_and_link() -> None:
    mail = render(
        failure_alert({"ti": Task(), "exception": GoldError("staging is empty: write again")}, ALERTS)
    )
    assert mail.subject == "[medallion] customers_gold: publish failed"
    for text in (mail.text, mail.html):
        assert "staging is empty: write again" in text
        assert "scheduled__2026-11-24T12:00:00+00:00" in text
        assert "runs/scheduled__2026-11-24T12%3A00%3A00%2B00%3A00/tasks/publish" in text


def test_text_and_html_say_the_same_to_every_recipient() -> None:
    mail = compose("subject", "lead", {"a": "b"}, {"link": "https://example.com"})
    received = sent(mail)
    assert received["To"] == "data@example.com"
    assert received.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in received.iter_parts()] == ["text/plain", "text/html"]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Key (email)=(jane@example.com) already exists"),
        caused(RuntimeError("jane@example.com"), ValueError("jane@example.com")),
    ],
)
def test_a_librarys_message_stays_in_the_log_as_it_may_quote_a_customer(error: Exception) -> None:
    told = reason(error)
    assert "jane" not in told
    assert type(error).__name__ in told
    assert "log" in told


def test_our_own_message_is_told_however_deep_it_is() -> None:
    ours = SettingsError("the settings are not valid", ["MEDALLION_LAKE_URI is not set"])
    assert "MEDALLION_LAKE_URI is not set" in reason(caused(RuntimeError("command line"), ours))


def test_a_task_that_took_too_long_is_told_so_and_by_which_setting() -> None:
    from airflow.sdk.exceptions import AirflowTaskTimeout

    assert "MEDALLION_LIMIT_*_MINUTES" in reason(AirflowTaskTimeout("Timeout, PID: 1"))


@pytest.mark.parametrize(
    ("ended", "told"), [("timed_out", "MEDALLION_LIMIT_RUN_MINUTES"), ("all_tasks_deadlocked", "can go on")]
)
def test_a_run_that_ended_without_a_failed_task_is_mailed_with_its_last_task(ended: str, told: str) -> None:
    run = {"dag": Task(), "run_id": Task().run_id, "ti": Task(task_id="write"), "reason": ended}
    mail = render(unfinished_run_alert(run, ALERTS))
    assert told in mail.text
    assert "Last task: write" in mail.text
    assert "Last task" not in render(unfinished_run_alert({**run, "ti": None}, ALERTS)).text


def test_a_run_with_a_failed_task_is_not_mailed_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medallion_ops.alerts.failures.send", lambda *mail: pytest.fail("one mail a cause"))
    mail_unfinished_run({"dag": Task(), "run_id": Task().run_id, "reason": "task_failure"})


def test_a_failure_that_another_task_has_mailed_is_not_mailed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sent_alerts: list[Alert] = []
    monkeypatch.setattr("medallion_ops.alerts.failures.send", lambda alert, alerts: sent_alerts.append(alert))
    monkeypatch.setenv("MEDALLION_ALERT_TO", "data@example.com")
    mail_failure({"ti": Task(), "exception": AlreadyMailed("customers_gold failed")})
    assert sent_alerts == []
    mail_failure({"ti": Task(), "exception": GoldError("this one is new")})
    assert len(sent_alerts) == 1


def test_a_task_that_was_killed_has_no_message() -> None:
    assert "log" in reason(None)


def test_markup_in_a_message_is_shown_not_obeyed() -> None:
    mail = compose(
        "s", "<b>lead</b>", {"<i>": "<script>alert(1)</script>"}, {"<x>": "https://e.com/?a='><b>"}
    )
    assert "<script>" not in mail.html
    assert "<b>lead" not in mail.html
    assert "&lt;script&gt;" in mail.html


def test_a_link_that_is_no_web_address_is_not_clickable() -> None:
    assert "href" not in compose("s", "l", {}, {"click": "javascript:alert(1)"}).html


def test_a_line_break_in_a_subject_adds_no_header() -> None:
    received = sent(compose("failed\r\nBcc: eve@example.com", "lead", {}, {}))
    assert received["Bcc"] is None
    assert "Bcc: eve@example.com" in received["Subject"]


def test_without_an_address_of_airflow_there_is_no_link() -> None:
    mail = render(failure_alert({"ti": Task(), "exception": None}, settings(AIRFLOW_URL="").alerts))
    assert "http" not in mail.html


def test_every_mail_has_a_date_and_an_id_of_its_own() -> None:
    first, second = sent(compose("s", "l", {}, {})), sent(compose("s", "l", {}, {}))
    for received in (first, second):
        assert received["Date"].datetime.tzinfo is not None
        assert received["Message-ID"].endswith("@localhost>")
    assert first["Message-ID"] != second["Message-ID"]


def test_the_same_alert_sent_again_after_a_crash_has_the_same_id() -> None:
    def of_try(number: int) -> str:
        context = {"ti": Task(try_number=number), "exception": None}
        return str(sent(render(failure_alert(context, ALERTS)))["Message-ID"])

    assert of_try(1) == of_try(1) != of_try(2)


@pytest.mark.parametrize(
    "dag_id",
    [
        "customers_gold",
        "subscriptions_gold",
        "customers_streaming",
        "customers_producer",
        "customers_replay",
        "customers_rebuild",
        "lake_maintenance",
        "platform_monitor",
    ],
)
def test_a_failure_mail_says_what_it_means_for_the_data_and_what_to_do_first(dag_id: str) -> None:
    mail = render(failure_alert({"ti": Task(dag_id=dag_id), "exception": None}, ALERTS))
    assert "For the data: " in mail.text
    assert "First step: " in mail.text


def mail_of_stream(ended: StreamEnded) -> str:
    task = Task(
        dag_id="customers_streaming", task_id="stream", start_date=datetime(2026, 11, 24, 17, 47, tzinfo=UTC)
    )
    return render(failure_alert({"ti": task, "exception": caused(Exception("x"), ended)}, ALERTS)).text


def test_a_mail_about_the_stream_says_since_when_its_trouble_is_known_not_its_tasks_start() -> None:
    text = mail_of_stream(StreamEnded("gave up", datetime(2026, 11, 24, 18, 3, 15, tzinfo=UTC)))
    assert "18:03:15" in text
    assert "17:47" not in text
    assert "17:47" not in mail_of_stream(StreamEnded("gave up")), "not known is not the task's start"


@pytest.mark.parametrize("kind", ["OtherLogError", "MissingTopic", "RecordsLost"])
def test_a_mail_about_records_that_kafka_has_no_more_does_not_say_that_none_is_lost(kind: str) -> None:
    assert "Nothing is lost" in mail_of_stream(StreamEnded("gave up", None, "StreamError"))
    assert "Nothing is lost" not in mail_of_stream(StreamEnded("another log", None, kind))


HOSTILE = "<script>alert(1)</script>" + "x" * 10_000 + "\u202e"


@pytest.mark.parametrize("kind", webhook.FORMATS)
def test_a_webhook_gets_json_that_quotes_text_as_text(kind: str) -> None:
    content = webhook.body(Alert(HOSTILE, [HOSTILE], key="k"), kind)
    text = json.dumps(content, ensure_ascii=False)
    assert len(text) < 10_000 + 2 * webhook.LONGEST_TEXT + 1_000
    assert "\u202e" not in text
    if kind == "slack":
        assert "<script>" not in text
    if kind == "pagerduty":
        assert content["dedup_key"] == "k"
        assert content["event_action"] == "trigger"


def test_an_end_resolves_what_pagerduty_opened() -> None:
    assert webhook.body(Alert("s", ["h"], level=Level.RESOLVED), "pagerduty")["event_action"] == "resolve"


def test_the_address_of_a_webhook_is_a_secret() -> None:
    alerts = settings(ALERT_WEBHOOK="https://hooks.example.com/services/marked-5ecret").alerts
    assert "marked-5ecret" not in repr(alerts)
