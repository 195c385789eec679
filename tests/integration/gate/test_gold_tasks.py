"""The DAG's tasks around a verdict, when something happens between them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from medallion_contracts.compile.great_expectations import storage_checks
from medallion_contracts.model import Severity
from medallion_ops.gate.decision import Option, answer, ask, options_for
from medallion_ops.gate.episodes import note_question
from medallion_ops.gate.verdict import Finding, Verdict, keep_verdict
from medallion_ops.gold import tasks as tasks
from medallion_ops.gold.audit_task import audit
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
        ask(connection, set_id, "task", options_for(verdict, DATASET))
        answer(connection, "task", Option.ANYWAY, "grace", NOON)
    publish_set(gold.secret, DATASET, set_id)

    assert tasks.notify("customers", "run") == []


def test_rows_are_not_left_out_of_a_set_whose_staging_is_lost(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("A"), version("B", tenure=1201)])
    verdict = judged(gold, set_id, Severity.CRITICAL)
    with psycopg.connect(gold.dsn) as connection:
        ask(connection, set_id, "task", options_for(verdict, DATASET))
    # What a crash of Postgres does to UNLOGGED tables while the person thinks.
    gold.query(f"TRUNCATE staging.s{set_id}_customers")
    with psycopg.connect(gold.dsn) as connection:
        answer(connection, "task", Option.WITHOUT_FAILING_ROWS, "grace", NOON)

    with pytest.raises(AirflowFailException, match=r"staging of customers, .* does not hold what"):
        tasks.exclude_failing_rows("customers", "run")

    assert gold.query("SELECT count(*) FROM audit.rejected_rows") == [(0,)]
    assert tasks.is_stale("customers", "run"), "so that another run writes again"


class JobSaid:
    """What the job of a run's task gave back."""

    def __init__(self, report: dict[str, object] | None) -> None:
        self.report = report

    def xcom_pull(self, *, task_ids: str) -> dict[str, object] | None:
        assert task_ids == "write"
        return self.report


def test_a_job_that_found_nothing_new_ends_the_run_in_peace(gold: GoldDatabase) -> None:
    with pytest.raises(AirflowSkipException, match="nothing new"):
        audit("customers", "run", JobSaid({"kind": "nothing", "set_id": None}), written_by="write")


def test_a_write_that_a_person_marked_as_done_does_not_pass_for_nothing_new(gold: GoldDatabase) -> None:
    with pytest.raises(AirflowFailException, match="clear the task write"):
        audit("customers", "run", JobSaid(None), written_by="write")


def test_a_write_marked_as_done_in_a_run_that_has_published_before_is_no_new_set(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("A")])
    judged(gold, set_id)
    publish_set(gold.secret, DATASET, set_id)

    with pytest.raises(AirflowFailException, match="no new set"):
        audit("customers", "run", JobSaid(None), written_by="write")


def test_a_run_of_the_name_of_one_that_airflow_forgot_publishes_its_own_set(gold: GoldDatabase) -> None:
    """Airflow's tables were restored from an older backup; the run was published, and comes again."""
    before = gold.stage([version("A")], run_id="scheduled__10")
    judged(gold, before)
    tasks.publish("customers", "scheduled__10")
    waiting = stage_blocked(gold, "scheduled__11", "tenure_in_range")
    show_question(gold, "scheduled__11", waiting)

    judged(gold, gold.stage([version("A", 1)], run_id="scheduled__10"))
    assert tasks.publish("customers", "scheduled__10")["is_new"]
    assert gold.query("SELECT run_id, set_id = %s FROM gold.publications ORDER BY 1, 2", [before]) == [
        ("scheduled__10", False),
        ("scheduled__10", True),
    ]
    assert tasks.report("customers", "scheduled__10")["publication_id"] == 2
    again = stage_blocked(gold, "scheduled__11", "tenure_in_range")
    assert next_task("scheduled__11") == "decide", "gold has been published since"
    with psycopg.connect(gold.dsn) as connection:
        ask(connection, again.set_id, "another task", options_for(again, DATASET))
        decision = answer(connection, "another task", Option.ANYWAY, "grace", NOON)
    assert decision.refused is None
    assert tasks.publish("customers", "scheduled__11")["is_new"]


def next_task(run_id: str, *, ask: bool = False) -> str:
    """Where a run goes after its audit."""
    return tasks.branch_on_gate_result(
        "customers", run_id, {"ask": ask}, passed="publish", failed="decide", blocked="keep_blocked"
    )


def stage_blocked(gold: GoldDatabase, run_id: str, *failed: str) -> Verdict:
    """A run's set that fails these expectations."""
    set_id = gold.stage([version("B", tenure=1201)], run_id=run_id)
    findings = [
        Finding("customers", name, "expect", "A rule.", Severity.CRITICAL, True, False, 2, 1)
        for name in failed
    ]
    with psycopg.connect(gold.dsn) as connection:
        keep_verdict(connection, verdict := Verdict(set_id, "hash", tuple(findings)))
    return verdict


def show_question(gold: GoldDatabase, run_id: str, verdict: Verdict) -> None:
    """What the question's task notes when Airflow shows it."""
    with psycopg.connect(gold.dsn) as connection:
        ask(connection, verdict.set_id, f"task of {run_id}", options_for(verdict, DATASET))
        note_question(connection, "customers", verdict, None, run_id)


def test_only_the_first_run_of_an_episode_asks(gold: GoldDatabase) -> None:
    first = stage_blocked(gold, "first", "tenure_in_range")
    assert next_task("first") == "decide"
    assert next_task("first") == "decide", "a try that was lost before it asked is followed by one that does"
    show_question(gold, "first", first)
    assert next_task("first") == "decide", "the run that asked goes on asking"

    stage_blocked(gold, "second", "tenure_in_range")
    assert next_task("second") == "keep_blocked"
    assert next_task("second", ask=True) == "decide"

    stage_blocked(gold, "third", "tenure_in_range", "email_present")
    assert next_task("third") == "decide", "other failures"


def test_after_a_publication_the_same_failures_are_asked_about_again(gold: GoldDatabase) -> None:
    show_question(gold, "first", stage_blocked(gold, "first", "tenure_in_range"))
    right = gold.stage([version("A")], run_id="right")
    judged(gold, right)
    publish_set(gold.secret, DATASET, right)

    stage_blocked(gold, "second", "tenure_in_range")
    assert next_task("second") == "decide"


def test_after_rows_were_left_out_in_vain_the_next_run_asks(gold: GoldDatabase) -> None:
    first = stage_blocked(gold, "run", "tenure_in_range")
    show_question(gold, "run", first)
    with psycopg.connect(gold.dsn) as connection:
        answer(connection, "task of run", Option.WITHOUT_FAILING_ROWS, "grace", NOON)
    assert tasks.exclude_failing_rows("customers", "run") == 1

    stage_blocked(gold, "next", "tenure_in_range")
    assert next_task("next") == "decide"


@pytest.mark.parametrize(
    ("failed", "options"),
    [
        ("tenure_in_range", (Option.KEEP_BLOCKED, Option.WITHOUT_FAILING_ROWS, Option.ANYWAY)),
        ("email_present", (Option.KEEP_BLOCKED, Option.WITHOUT_FAILING_ROWS)),
        ("customer_id_present", (Option.KEEP_BLOCKED, Option.WITHOUT_FAILING_ROWS)),
    ],
)
def test_what_gold_cannot_store_is_not_offered_to_be_published_anyway(
    gold: GoldDatabase, failed: str, options: tuple[Option, ...]
) -> None:
    assert options_for(stage_blocked(gold, "run", failed), DATASET) == options


@pytest.mark.parametrize("table", list(DATASET.gold))
def test_a_key_that_is_there_twice_leaves_nothing_to_choose(gold: GoldDatabase, table: str) -> None:
    keys = {
        label
        for label in storage_checks(DATASET)
        if label.startswith(f"{table}.") and "_present" not in label
    }
    [label] = keys
    set_id = gold.stage([version("A")])
    name = label.split(".")[1]
    about_table = Finding(table, name, "expect", "A key.", Severity.CRITICAL, False, False, 2)
    with psycopg.connect(gold.dsn) as connection:
        keep_verdict(connection, Verdict(set_id, "hash", (about_table,)))

    assert next_task("run") == "keep_blocked"


class _Run:
    """What a task of the DAG gets of its run and of the tasks before it."""

    run_after = datetime.now(UTC)

    def xcom_pull(self, *, task_ids: str) -> dict[str, str]:
        """What `write` gave back."""
        return {"took": f"{task_ids} 9.5 s: session 4.0"}


def test_the_report_says_in_one_line_what_the_run_s_time_went_into(
    gold: GoldDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    judged(gold, gold.stage([version("A", 1)], run_id="scheduled__10"))
    tasks.publish("customers", "scheduled__10")
    with caplog.at_level("INFO"):
        tasks.report("customers", "scheduled__10", ti=_Run(), dag_run=_Run())
    [line] = [one for one in caplog.messages if one.startswith("after the trigger: ")]
    assert re.fullmatch(
        r"after the trigger: set complete \d+\.\d s, published \d+\.\d s; the job: write 9.5 s: session 4.0",
        line,
    )
