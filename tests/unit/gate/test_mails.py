"""What the gate's mails say, and what they never let through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from medallion_contracts.model import Severity
from medallion_ops.alerts.alert import Alert
from medallion_ops.alerts.mail import Mail, render
from medallion_ops.gate.episodes import Episode, Kind
from medallion_ops.gate.mails import Subject, blocked_alert, in_markdown, released_alert, warned_alert
from medallion_ops.gate.verdict import Example, Finding, Verdict
from medallion_ops.gold.links import decision_links
from medallion_store.manifests import Manifest
from medallion_store.publications import Publication
from settings_of_tests import ENVIRONMENT

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
WRITTEN = Manifest(7, "customers", "scheduled__1", "increment", "s", 40, 42, 3, {}, "", NOON, "c0de")
LAST = Publication(3, 6, "s", 40, {}, "passed", None, NOON)
EXAMPLE = Example("C-1", "2026-05-04T12:00:00+00:00", "customers/2@1001", {"tenure": "9999"})
TENURE = Finding(
    "customers",
    "tenure_in_range",
    "expect",
    "tenure is at most 1200.",
    Severity.CRITICAL,
    True,
    False,
    7043,
    2,
    (EXAMPLE,),
)
UNBROKEN = replace(
    TENURE, name="unbroken", description="No gaps.", is_about_rows=False, failing_count=None, examples=()
)
EMAIL = replace(TENURE, name="email_plausible", description="E-mails.", severity=Severity.WARNING)
LINKS = {"Airflow run": "https://airflow.example.org/dags/x?a=1&b=2"}


def subject(*findings: Finding) -> Subject:
    return Subject(WRITTEN, Verdict(7, "hash", findings), LAST)


def mail_of(make: Callable[..., Alert], *arguments: Any) -> Mail:
    return render(make(*arguments))


def episode(*failed: str, mailed: tuple[str, ...] | None = None) -> Episode:
    return Episode(1, Kind.BLOCKED, failed, mailed)


def test_a_blocked_mail_tells_everything_a_person_needs_to_decide() -> None:
    mail = mail_of(blocked_alert, subject(TENURE, EMAIL), episode("customers.tenure_in_range"), 45, LINKS)

    assert mail.subject == "[medallion] customers_gold: gold is blocked (1 critical)"
    for said in (
        "Set 7 of customers (silver versions 41 to 42, run scheduled__1) failed 1 critical expectation.",
        "Gold stays as publication 3 left it (silver version 40, 2026-05-04 12:00 UTC).",
        "CRITICAL customers.tenure_in_range: tenure is at most 1200.",
        "2 of 7,043 rows (0.03 %)",
        "C-1, version 2026-05-04T12:00:00+00:00, Kafka customers/2@1001, tenure: 9999",
        "WARNING customers.email_plausible",
        "keep blocked, publish without the failing rows, publish anyway",
        "Airflow run: https://airflow.example.org/dags/x?a=1&b=2",
    ):
        assert said in mail.text
    assert 'href="https://airflow.example.org/dags/x?a=1&amp;b=2"' in mail.html
    assert "2 of 7,043 rows (0.03 %)" in mail.html


def test_leaving_rows_out_is_not_offered_where_a_table_failed_as_a_whole() -> None:
    mail = mail_of(blocked_alert, subject(UNBROKEN), episode("customers.unbroken"), 45, {})

    assert "the table as a whole (7,043 rows)" in mail.text
    assert "keep blocked, publish anyway" in mail.text
    assert "Leaving rows out would not help" in mail.text


def test_a_changed_episode_says_what_no_longer_fails() -> None:
    mail = mail_of(
        blocked_alert,
        subject(TENURE),
        episode("customers.tenure_in_range", mailed=("customers.old",)),
        45,
        {},
    )

    assert "still blocked, for other reasons" in mail.subject
    assert "No longer failing: customers.old." in mail.text


def test_a_warning_mail_says_that_gold_is_published() -> None:
    mail = mail_of(warned_alert, subject(EMAIL), {})

    assert mail.subject == "[medallion] customers_gold: 1 warning of the gate"
    assert "do not keep a set from being published" in mail.text


@pytest.mark.parametrize(
    ("decision", "by", "told"),
    [
        ("passed", None, "The gate passed the set."),
        ("passed; rows rejected stay out", None, "The gate passed the set; rows rejected stay out."),
        ("publish anyway", "grace", "The decision by grace was: publish anyway."),
    ],
)
def test_a_release_mail_says_how_and_by_whom(decision: str, by: str | None, told: str) -> None:
    rows = {"customers": {"inserted": 1, "updated": 2, "deleted": 0, "unchanged": 1234}}
    mail = mail_of(
        released_alert, "customers", replace(LAST, decision=decision, decided_by=by, rows=rows), {}
    )

    assert told in mail.text
    assert "customers: 1 inserted, 2 updated, 0 deleted, 1,234 unchanged" in mail.text


HOSTILE = "<img src=x onerror=alert(1)>\r\nBcc: all@example.org\u202e`[a](http://evil)"


def test_hostile_text_stays_text() -> None:
    finding = replace(TENURE, examples=(replace(EXAMPLE, key=HOSTILE),))
    mail = mail_of(blocked_alert, subject(finding), episode("customers.tenure_in_range"), 45, LINKS)
    markdown = in_markdown(Verdict(7, "hash", (finding,)), LINKS)

    assert "<img" not in mail.html
    for shown in (mail.text, mail.html, markdown):
        assert "\nBcc" not in shown
        assert "\u202e" not in shown
    [example] = [line for line in markdown.splitlines() if "img" in line]
    assert example.count("`") == 2


@pytest.mark.parametrize(
    ("docs", "wanted"),
    [
        (None, "https://airflow.example.com/medallion/data-docs/"),
        ("https://docs.example.com/gate/", "https://docs.example.com/gate/"),
    ],
)
def test_links_to_data_docs_lead_behind_airflows_login_unless_they_are_hosted_elsewhere(
    docs: str | None, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOLD_DSN", "ALERT_TO", "AIRFLOW_URL"):
        monkeypatch.setenv(f"MEDALLION_{name}", ENVIRONMENT[f"MEDALLION_{name}"])
    monkeypatch.setenv("MEDALLION_DATA_DOCS_DIR", "/docs")
    monkeypatch.delenv("MEDALLION_DATA_DOCS_URL", raising=False)
    if docs:
        monkeypatch.setenv("MEDALLION_DATA_DOCS_URL", docs)

    links = decision_links(WRITTEN, subject(TENURE).verdict)

    page = "customers/validations/customers/set-7/20260504T120000.000000Z/customers.html"
    assert links["Data Docs of customers"] == wanted + page
    monkeypatch.delenv("MEDALLION_DATA_DOCS_DIR")
    assert "Data Docs of customers" not in decision_links(WRITTEN, subject(TENURE).verdict)
