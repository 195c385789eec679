"""The real DAGs on the real customer table in the real stack; the tests follow one another in this order."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from e2e.conftest import E2E_SECONDS, Platform
from medallion_contracts.errors import ServiceUnavailable
from medallion_contracts.loader import load_dataset
from medallion_stack import layout
from medallion_stack.airflow import PARALLELISM
from medallion_stack.layout import TELCO
from medallion_stack.report import Report
from medallion_stack.status import print_status
from medallion_stack.waiting import wait_until

pytestmark = pytest.mark.timeout(E2E_SECONDS)
MARKED = "marked-5ecret"


def is_yes(text: str) -> bool:
    assert text in ("Yes", "No")
    return text == "Yes"


def total_charges(row: dict[str, str]) -> Decimal:
    """As the table has it; monthly charges times tenure for the customers that lack it."""
    if row["TotalCharges"].strip():
        return Decimal(row["TotalCharges"])
    return Decimal(row["MonthlyCharges"]) * int(row["tenure"])


# This mapping is the test's own, on purpose: the producer has another.
COLUMNS: dict[str, Callable[[dict[str, str]], object]] = {
    "gender": lambda row: row["gender"],
    "senior_citizen": lambda row: row["SeniorCitizen"] == "1",
    "partner": lambda row: is_yes(row["Partner"]),
    "dependents": lambda row: is_yes(row["Dependents"]),
    "tenure": lambda row: int(row["tenure"]),
    "phone_service": lambda row: is_yes(row["PhoneService"]),
    "internet_service": lambda row: row["InternetService"],
    "contract": lambda row: row["Contract"],
    "monthly_charges": lambda row: Decimal(row["MonthlyCharges"]),
    "total_charges": total_charges,
}


def telco_rows() -> dict[str, dict[str, str]]:
    with TELCO.open(newline="") as file:
        return {row["customerID"]: row for row in csv.DictReader(file)}


def gold_rows(platform: Platform, table: str) -> dict[str, dict[str, Any]]:
    with psycopg.connect(platform.settings["MEDALLION_GOLD_DSN"], row_factory=dict_row) as connection:
        rows = connection.execute(f"SELECT * FROM gold.{table}").fetchall()
    assert len({row["customer_id"] for row in rows}) == len(rows)
    return {row["customer_id"]: row for row in rows}


def test_the_demo_finds_exactly_what_was_sent(demo_report: Report) -> None:
    assert [check for check in demo_report.checks if not check.holds] == []
    expected = {check.what: check.expected for check in demo_report.checks}
    assert expected["accepted to silver"] == 7043
    assert (expected["duplicates found"], expected["late events found"]) == (50, 20)
    assert expected["broken events found"] == 24
    assert sum("reason" in what for what in expected) >= 8


def test_gold_has_every_customer_of_the_table(platform: Platform, demo_report: Report) -> None:
    assert gold_rows(platform, "customers").keys() == telco_rows().keys()
    assert len(telco_rows()) == 7043


@pytest.mark.parametrize("column", COLUMNS)
def test_gold_has_the_values_of_the_table(platform: Platform, demo_report: Report, column: str) -> None:
    expected = {customer: COLUMNS[column](row) for customer, row in telco_rows().items()}
    found = {customer: row[column] for customer, row in gold_rows(platform, "customers").items()}
    assert found == expected


def test_only_the_eleven_customers_without_total_charges_had_defaults(
    platform: Platform, demo_report: Report
) -> None:
    lacking = {customer for customer, row in telco_rows().items() if not row["TotalCharges"].strip()}
    filled = {
        customer: set(row["defaulted_fields"]) & COLUMNS.keys()  # the table has no others
        for customer, row in gold_rows(platform, "customers").items()
    }
    assert {customer for customer, names in filled.items() if names} == lacking
    assert len(lacking) == 11
    assert all(filled[customer] == {"total_charges"} for customer in lacking)


def test_names_and_addresses_are_made_up_for_all(platform: Platform, demo_report: Report) -> None:
    rows = gold_rows(platform, "customers").values()
    assert all(row["first_name"] and row["last_name"] and "@" in row["email"] for row in rows)


def test_features_know_who_churned(platform: Platform, demo_report: Report) -> None:
    expected = {customer: is_yes(row["Churn"]) for customer, row in telco_rows().items()}
    found = {customer: row["churned"] for customer, row in gold_rows(platform, "customer_features").items()}
    assert found == expected


def test_the_report_is_kept_for_its_owner_alone(demo_report: Report, tmp_path: Path) -> None:
    path = demo_report.keep(tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    text = path.read_text()
    for words in (
        "ROWS PER LAYER",
        "reason malformed",
        "GATE",
        "customers_masked",
        "segment_current",
        "password",
    ):
        assert words in text
    assert json.loads(path.with_suffix(".json").read_text())[0]["holds"] is True


def test_the_stack_fits_into_six_gibibytes(platform: Platform, demo_report: Report) -> None:
    from medallion_stack.status import stack_memory

    assert stack_memory(platform.stack.state) < 6 * 2**30


def test_nothing_listens_beyond_loopback(platform: Platform, demo_report: Report) -> None:
    import psutil

    ours = {process.pid for process in platform.stack.processes.members()}
    listening = [
        connection
        for connection in psutil.net_connections(kind="inet")
        if connection.pid in ours and connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 10
    addresses = {getattr(connection.laddr, "ip", "") for connection in listening}
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_no_secret_is_in_the_arguments_of_a_process(platform: Platform, demo_report: Report) -> None:
    kept = json.loads((platform.stack.state.folder / "stack.json").read_text())["secrets"]
    for process in platform.stack.processes.members():
        try:
            arguments = Path(f"/proc/{process.pid}/cmdline").read_text(errors="replace")
        except OSError:
            continue
        assert [name for name, secret in kept.items() if secret in arguments] == []


def test_gold_can_be_triggered_by_airflows_command_line(platform: Platform, demo_report: Report) -> None:
    before = platform.gold.rows()
    environment = {**os.environ, "MEDALLION_STATE": str(platform.stack.state.folder)}
    command = [str(layout.PROJECT / "docker/local/airflow"), "dags", "trigger", "customers_gold"]
    command += ["--run-id", "by-command-line"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    platform.wait_for_run("customers_gold", "by-command-line")
    assert platform.airflow.state("customers_gold", "by-command-line") == "success"
    assert platform.gold.rows() == before  # nothing new in silver: nothing published


def test_no_process_of_airflow_may_keep_a_transaction_open(platform: Platform, demo_report: Report) -> None:
    with psycopg.connect(platform.stack.airflow.database) as connection:
        limit = connection.execute("SHOW idle_in_transaction_session_timeout").fetchone()
    assert limit == ("2min",)


def test_the_monitor_has_a_slot_of_its_own_and_finds_nothing_wrong(
    platform: Platform, demo_report: Report
) -> None:
    assert platform.airflow.pool_slots("monitor") == 1
    assert platform.airflow.pool_slots("default_pool") == PARALLELISM - 1
    run = platform.run_dag("platform_monitor")
    found = platform.airflow.result("platform_monitor", run, "look")
    assert found["problems"] == []
    with psycopg.connect(platform.settings["MEDALLION_GOLD_DSN"]) as connection:
        canaries = connection.execute("SELECT shown_at IS NOT NULL FROM audit.canaries").fetchall()
        watched = connection.execute("SELECT code FROM audit.incidents WHERE watch_key IS NOT NULL")
        assert (canaries, watched.fetchall()) == ([(True,)], [])


def test_the_status_shows_each_stream_beside_the_services(
    platform: Platform, demo_report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_status(platform.stack.state)
    lines = capsys.readouterr().out.splitlines()
    [watcher] = [line for line in lines if line.startswith("watcher")]
    assert "DOWN" not in watcher
    header = next(place for place, line in enumerate(lines) if line.startswith("stream"))
    name, state, *_ = lines[header + 1].split()
    assert (name, state in ("waiting", "working")) == ("customers", True)
    assert "records in" in lines[header + 1]


def test_a_backfill_is_refused_on_every_dag(platform: Platform, demo_report: Report) -> None:
    for dag_id in platform.airflow.dag_ids():
        wanted = {"dag_id": dag_id, "from_date": "2026-11-01T00:00:00Z", "to_date": "2026-11-02T00:00:00Z"}
        with pytest.raises(ServiceUnavailable, match=r"backfill") as refused:
            platform.airflow.backfill(wanted)
        assert "(4" in str(refused.value), "a refusal, not a failure"


def test_a_run_with_an_unknown_parameter_does_nothing_is_not_tried_again_and_is_mailed_once(
    platform: Platform, demo_report: Report
) -> None:
    sent = platform.stack.broker.record_count(("customers",))
    mails = len(platform.mail.messages())
    run = platform.run_dag("customers_producer", cout=MARKED)
    assert platform.airflow.state("customers_producer", run) == "failed"
    assert platform.airflow.tries("customers_producer", run, "produce") == 1
    assert platform.stack.broker.record_count(("customers",)) == sent
    [mail] = [one for one in platform.mail.messages()[mails:] if "produce" in str(one["Subject"])]
    assert "count is meant?" in mail.as_string().replace("=\n", "")


@pytest.mark.parametrize("file", ["../secrets.env", "/proc/self/environ"])
def test_a_hopeless_file_is_tried_once_and_nothing_of_it_is_sent(
    platform: Platform, demo_report: Report, file: str
) -> None:
    sent = platform.stack.broker.record_count(("customers",))
    run = platform.run_dag("customers_producer", source="jsonl", file=file, count=None)
    assert platform.airflow.state("customers_producer", run) == "failed"
    assert platform.airflow.tries("customers_producer", run, "produce") == 1
    assert platform.stack.broker.record_count(("customers",)) == sent


def test_a_service_that_dies_is_started_again(platform: Platform) -> None:
    mail = platform.stack.processes.find("mail")
    assert mail
    os.kill(mail.pid, signal.SIGKILL)

    def is_back() -> bool:
        found = platform.stack.processes.find("mail")
        return found is not None and found != mail

    wait_until(is_back, 60, "the mail sink")


def test_a_failing_gate_leaves_gold_alone_and_mails(platform: Platform, demo_report: Report) -> None:
    # The hour's own run may come in between: all that was sent is published, only the next event is news.
    before = gold_rows(platform, "customers")
    customer = "7590-VHVEG"
    event = {
        **{name: before[customer][name] for name in load_dataset("customers").events.column_names},
        "monthly_charges": "18.25",
        "total_charges": "18.25",
        "tenure": 1,
        # Silver takes each of these; together they are a contract without any service.
        "phone_service": False,
        "internet_service": "No",
        "updated_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    file = platform.incoming / "event.jsonl"
    file.write_text(json.dumps(event) + "\n")
    mails = len(platform.mail.messages())
    run = platform.run_dag("customers_producer", source="jsonl", file=file.name, count=None)
    assert platform.airflow.state("customers_producer", run) == "success"
    platform.wait_for_verdicts()

    gold_run = platform.run_gold_until_it_asks()
    platform.wait_until_people_were_told(gold_run)
    [mail] = [one for one in platform.mail.messages()[mails:] if "customers_gold" in str(one["Subject"])]
    payload = mail.get_payload(0)
    text = payload.get_payload(decode=True).decode()  # type: ignore[union-attr]  # multipart, text first
    assert "without a telephone or an internet service" in text
    assert event["last_name"] not in text
    assert event["email"] not in text
    assert gold_rows(platform, "customers") == before

    assert platform.decide(gold_run, "publish without the failing rows") == "success"
    assert gold_rows(platform, "customers") == before
