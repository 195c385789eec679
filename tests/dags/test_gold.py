"""customers_gold: its edges, schedule and ways out of a failed gate."""

from __future__ import annotations

from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, DagRunTriggerException

from medallion_ops.alerts.failures import mail_failure
from medallion_ops.gate.decision import Option
from medallion_ops.gold import retrigger

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag


@pytest.fixture
def dag(dag_bag: DagBag) -> Any:
    return dag_bag.dags["customers_gold"]


def test_edges(dag: Any) -> None:
    assert {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks} == {
        "check_new": ["write"],
        "write": ["audit"],
        "audit": ["notify", "retrigger_run", "verdict"],
        "notify": [],
        "verdict": ["decide", "keep_blocked", "publish"],
        "decide": ["exclude_failing_rows", "keep_blocked", "publish"],
        "keep_blocked": [],
        "exclude_failing_rows": ["restage", "retrigger_run"],
        "restage": ["re_audit"],
        "re_audit": ["publish", "retrigger_run"],
        "publish": ["report", "retrigger_run"],
        "report": [],
        "retrigger_run": [],
    }


def test_it_runs_hourly_one_run_at_a_time_without_catching_up(dag: Any) -> None:
    assert dag.schedule == "@hourly"
    assert dag.max_active_runs == 1
    assert not dag.catchup


def test_every_option_leads_somewhere_and_silence_keeps_gold_as_it_is(dag: Any) -> None:
    decide = dag.get_task("decide")

    assert set(decide.then) == set(Option)
    assert set(decide.then.values()) <= decide.downstream_task_ids
    assert decide.defaults == [Option.KEEP_BLOCKED]
    assert decide.response_timeout == timedelta(minutes=45)


def test_publish_runs_by_whichever_way_was_taken_and_never_past_a_failure(dag: Any) -> None:
    assert dag.get_task("publish").trigger_rule == "none_failed_min_one_success"
    assert dag.get_task("keep_blocked").trigger_rule == "none_failed_min_one_success"


def test_only_the_blocked_end_is_silent(dag: Any) -> None:
    silent = {task.task_id for task in dag.tasks if mail_failure not in (task.on_failure_callback or ())}

    assert silent == {"keep_blocked"}


def test_a_run_that_lost_its_staging_is_followed_by_another(dag: Any) -> None:
    again = dag.get_task("retrigger_run")

    assert again.trigger_rule == "one_failed"
    assert again.trigger_dag_id == "customers_gold"


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_the_run_that_writes_again_is_asked_for_what_the_lost_one_was(
    dag: Any, full: bool, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrigger, "is_stale", lambda dataset, run_id: True)
    monkeypatch.setattr(retrigger, "run_asked", lambda dataset, run_id: asked)
    context = {"run_id": "manual__1", "params": {"full": full, "ask": False}}
    with pytest.raises(DagRunTriggerException) as triggered:
        copy(dag.get_task("retrigger_run")).execute(context)
    assert triggered.value.trigger_dag_id == "customers_gold"
    assert triggered.value.conf == {"full": full, "ask": asked}
    assert triggered.value.dag_run_id == "restaged-1__manual__1"
    assert triggered.value.skip_when_already_exists, "a retried or cleared task must not trigger another one"


def test_runs_that_lose_their_staging_again_and_again_do_not_follow_one_another_for_ever(
    dag: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrigger, "is_stale", lambda dataset, run_id: True)
    run, followed = "scheduled__2026-11-28T12:00:00+00:00", 0
    while (following := retrigger.following_run(run)) is not None:
        run, followed = following, followed + 1
    assert followed == retrigger.MOST_IN_A_ROW
    with pytest.raises(AirflowSkipException, match="the schedule's next"):
        copy(dag.get_task("retrigger_run")).execute({"run_id": run, "params": {"full": False, "ask": False}})
