"""What people do about a failed gate, through Airflow; runs after `test_whole_path`, on the same stack."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from e2e.conftest import E2E_SECONDS, Platform
from medallion_contracts.errors import ServiceUnavailable
from medallion_stack.layout import TELCO
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


MARKS = {
    "a row of a file without a header": "Qmarkrow1",
    "a cell of a Telco table": "Qmarkcell",
    "a broken line": "Qmarkline",
    "the value of an unknown parameter": "Qmarkvalu",
    "the name of a file": "Qmarkfile",
    "a time": "Qmarktime",
    "a label": "Qmarklabl",
    "a value of an event": SECRET_NAME,
    "a value of an event that is malformed": "Qmarkmalf",
}
"""Planted by where; the secrets of the stack itself come beside them."""


def test_inputs_that_hold_marks_are_refused_or_taken(platform: Platform, demo_report: Report) -> None:
    """Plants a mark in every input; what became of them is looked for in the next test."""
    incoming = platform.incoming
    mark = MARKS
    row, cell = mark["a row of a file without a header"], mark["a cell of a Telco table"]
    (incoming / "no_header.csv").write_text(f"{row},Yes,{row},29.85,{row}\nB,No\n")
    header, first = TELCO.read_text().splitlines()[:2]
    (incoming / "bad_cells.csv").write_text(
        f"{header}\n{first.replace('Female', cell).replace('29.85', cell)}\n"
    )
    (incoming / "bad_lines.csv").write_text(f'{header}\n"{mark["a broken line"]}"x,{mark["a broken line"]}\n')
    malformed = mark["a value of an event that is malformed"]
    (incoming / "malformed.jsonl").write_text(
        f'{{"customer_id": "{malformed}", "email": \'{malformed}\'\n{{"{malformed}": 1}}\n{malformed}\n'
    )
    refused: list[tuple[str, dict[str, object]]] = [
        ("customers_producer", {"source": "csv", "file": "no_header.csv", "count": None}),
        ("customers_producer", {"source": "telco", "file": "bad_cells.csv", "count": None}),
        ("customers_producer", {"source": "telco", "file": "bad_lines.csv", "count": None}),
        ("customers_producer", {"source": "csv", "file": f"../{mark['the name of a file']}", "count": None}),
        ("customers_replay", {"fom": mark["the value of an unknown parameter"]}),
    ]
    started = [(dag_id, platform.airflow.trigger(dag_id, conf)) for dag_id, conf in refused]
    for dag_id, name in (("customers_producer", "as_of"), ("customers_replay", "from")):
        with suppress(ServiceUnavailable):  # Airflow itself refuses what is no time at all
            started.append((dag_id, platform.airflow.trigger(dag_id, {name: mark["a time"]})))
    for dag_id, run in started:
        platform.wait_for_run(dag_id, run)
        assert platform.airflow.state(dag_id, run) == "failed", (dag_id, run)
    run = platform.run_dag("customers_producer", source="jsonl", file="malformed.jsonl", count=None)
    assert platform.airflow.state("customers_producer", run) == "success"
    platform.wait_for_verdicts()
    labels = Path(platform.settings["MEDALLION_CHURN_SOURCE"])
    label = mark["a label"]
    labels.write_text(f"customerID,Churn\n7590-VHVEG,{label}\n{label},{label}\n")
    platform.run_dag("customers_gold")


def test_no_mark_and_no_secret_reached_mails_logs_xcom_templates_or_data_docs(platform: Platform) -> None:
    state = Path(platform.settings["MEDALLION_STATE"])
    kept = json.loads((state / "stack.json").read_text())["secrets"]
    sought = {**MARKS, **{f"secret {name}": secret for name, secret in kept.items()}}
    names = ("airflow/logs", "logs", "spark/work", "data_docs", "mail")
    where = [state / name for name in names]
    assert [folder for folder in where if not any(folder.rglob("*"))] == [], "there is something to look at"

    leaks = [
        (what, str(path))
        for folder in where
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".jar"
        for text in [path.read_bytes()]
        for what, mark in sought.items()
        if mark.encode() in text
    ]
    assert leaks == []

    # Not dag_run and log: they hold what the person who triggered a run gave, for those who may trigger runs.
    tables = ("xcom", "rendered_task_instance_fields", "import_error", "hitl_detail", "trigger")
    with psycopg.connect(platform.stack.airflow.database) as connection:
        [values] = connection.execute("SELECT count(*) FROM xcom").fetchone() or (0,)
        for table in tables:
            for what, mark in sought.items():
                query = f"SELECT count(*) FROM {table} AS one WHERE position(%s IN one::text) > 0"
                assert connection.execute(query, [mark]).fetchone() == (0,), (table, what)
    assert values > 10
    with psycopg.connect(platform.settings["MEDALLION_GOLD_DSN"]) as connection:
        for what, mark in sought.items():
            query = "SELECT count(*) FROM audit.gate_results AS one WHERE position(%s IN one::text) > 0"
            assert connection.execute(query, [mark]).fetchone() == (0,), what
