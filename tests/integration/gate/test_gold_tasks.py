"""The DAG's tasks around a verdict, when something happens between them."""

from __future__ import annotations

import json

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException

from medallion_contracts.model import Severity
from medallion_ops.gate.decision import Option, answer, ask, options_for
from medallion_ops.gate.verdict import Finding, Verdict, keep_verdict
from medallion_ops.gold import tasks as tasks
from medallion_ops.gold.publication import publish_set
from services import Mail
from staged_sets import DATASET, NOON, GoldDatabase, version


@pytest.fixture(autouse=True)
def settings(gold: GoldDatabase, mail_sink: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_GOLD_DSN", gold.dsn)
    monkeypatch.setenv("MEDALLION_ALERT_TO", "ops@example.org")
    extra = {"disable_tls": True, "disable_ssl": True, "retry_limit": 1}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": mail_sink.port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))


def judged(gold: GoldDatabase, set_id: int, *failed: Severity) -> Verdict:
    """The verdict on a set: one finding about tenures, failed with each of these severities, or passed."""
    findings = [
        Finding("customers", "tenure_in_range", "expect", "A rule.", severity, True, False, 2, 1)
        for severity in failed
    ] or [Finding("customers", "tenure_in_range", "expect", "A rule.", Severity.CRITICAL, True, True, 2)]
    verdict = Verdict(set_id, "hash", tuple(findings))
    with psycopg.connect(gold.dsn) as connection:
        keep_verdict(connection, verdict)
    return verdict


def test_warnings_of_a_set_that_was_published_meanwhile_are_told_all_the_same(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("A")])
    judged(gold, set_id, Severity.WARNING)
    publish_set(gold.secret, DATASET, set_id)

    [subject] = tasks.notify("customers", "run")

    assert "warning" in subject
    assert tasks.notify("customers", "run") == [], "once"


def test_nothing_is_told_to_be_blocked_that_was_published_meanwhile(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("B", tenure=1201)])
    verdict = judged(gold, set_id, Severity.CRITICAL)
    with psycopg.connect(gold.dsn) as connection:
        ask(connection, set_id, "task", options_for(verdict))
        answer(connection, "task", Option.ANYWAY, "grace", NOON)
    publish_set(gold.secret, DATASET, set_id)

    assert tasks.notify("customers", "run") == []


def test_rows_are_not_left_out_of_a_set_whose_staging_is_lost(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("A"), version("B", tenure=1201)])
    verdict = judged(gold, set_id, Severity.CRITICAL)
    with psycopg.connect(gold.dsn) as connection:
        ask(connection, set_id, "task", options_for(verdict))
    # What a crash of Postgres does to UNLOGGED tables while the person thinks.
    gold.query(f"TRUNCATE staging.s{set_id}_customers")
    with psycopg.connect(gold.dsn) as connection:
        answer(connection, "task", Option.WITHOUT_FAILING_ROWS, "grace", NOON)

    with pytest.raises(AirflowFailException, match=r"staging of customers, .* does not hold what"):
        tasks.exclude_failing_rows("customers", "run")

    assert gold.query("SELECT count(*) FROM audit.rejected_rows") == [(0,)]
    assert tasks.is_stale("customers", "run"), "so that another run writes again"
