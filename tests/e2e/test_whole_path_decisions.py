"""What people do about a failed gate, through Airflow; runs after `test_whole_path`, on the same stack."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psycopg
import pytest

from e2e.conftest import E2E_SECONDS, Platform
from medallion_stack.report import Report

pytestmark = pytest.mark.timeout(E2E_SECONDS)

CUSTOMER = "customer-without-service"
SECRET_NAME = "Qmarklast"


def send_customer_without_service(platform: Platform) -> None:
    """Each field is right for silver; together they break a rule of gold."""
    event = {
        "customer_id": CUSTOMER,
        "phone_service": False,
        "internet_service": "No",
        "last_name": SECRET_NAME,
        "updated_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    file = platform.incoming / "event.jsonl"
    file.write_text(json.dumps(event) + "\n")
    platform.run_dag("customers_producer", source="jsonl", file=file.name, count=None)
    platform.wait_for_verdicts()


def gate_mails(platform: Platform) -> list[str]:
    return [
        subject
        for mail in platform.mail.messages()
        if "customers_gold: gold" in (subject := str(mail["Subject"]))
    ]


def gold_holds(platform: Platform, customer: str) -> bool:
    with psycopg.connect(platform.settings["MEDALLION_GOLD_DSN"]) as connection:
        found = connection.execute("SELECT 1 FROM gold.customers WHERE customer_id = %s", [customer])
        return found.fetchone() is not None


def last_decision(platform: Platform) -> tuple[str, str | None]:
    with psycopg.connect(platform.settings["MEDALLION_GOLD_DSN"]) as connection:
        query = "SELECT decision, decided_by FROM gold.publications ORDER BY publication_id DESC LIMIT 1"
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0], row[1]


def test_a_blocked_episode_from_its_first_mail_to_its_release(
    platform: Platform, demo_report: Report
) -> None:
    told = len(gate_mails(platform))  # before the event: the hour's own run may find it first
    send_customer_without_service(platform)

    first = platform.run_gold_until_it_asks()
    platform.wait_until_people_were_told(first)
    assert [subject.split(" (")[0] for subject in gate_mails(platform)[told:]] == [
        "[medallion] customers_gold: gold is blocked"
    ]
    assert platform.decide(first, "keep blocked") == "failed"
    assert not gold_holds(platform, CUSTOMER)

    # Answered before the process that asked has ended: Airflow loses such an answer, the question does not.
    second = platform.run_gold_until_it_asks()
    assert platform.decide(second, "publish anyway") == "success"
    assert gold_holds(platform, CUSTOMER)
    assert last_decision(platform) == ("publish anyway", platform.settings["MEDALLION_AIRFLOW_USER"])
    assert gate_mails(platform)[told + 1 :] == ["[medallion] customers_gold: gold is released"], (
        "the same trouble is mailed once"
    )


def test_no_personal_value_reached_mails_logs_xcom_or_data_docs(platform: Platform) -> None:
    state = Path(platform.settings["MEDALLION_STATE"])
    names = ("airflow/logs", "logs", "spark/work", "data_docs", "mail")
    where = [state / name for name in names]
    assert [folder for folder in where if not any(folder.rglob("*"))] == [], "there is something to look at"

    leaks = [
        str(path)
        for folder in where
        for path in folder.rglob("*")
        if path.is_file() and SECRET_NAME.encode() in path.read_bytes()
    ]

    assert leaks == []

    with psycopg.connect(platform.stack.airflow.database) as connection:
        [kept] = connection.execute("SELECT count(*) FROM xcom").fetchone() or (0,)
        query = "SELECT dag_id, task_id FROM xcom WHERE position(%s IN value::text) > 0"
        assert connection.execute(query, [SECRET_NAME]).fetchall() == []
    assert kept > 10
