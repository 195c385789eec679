"""When each DAG runs, and in which order its tasks do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from medallion_contracts.loader import dataset_names

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import DAG


def dag(bag: DagBag, dag_id: str) -> DAG:
    return bag.dags[dag_id]


def edges(found: DAG) -> set[tuple[str, str]]:
    return {(task.task_id, after) for task in found.tasks for after in task.downstream_task_ids}


@pytest.mark.parametrize(
    ("dag_id", "schedule"),
    [
        ("customers_streaming", "ContinuousTimetable"),
        ("customers_producer", "NullTimetable"),
        ("customers_replay", "NullTimetable"),
        ("customers_rebuild", "NullTimetable"),
        ("lake_maintenance", "CronTriggerTimetable"),
    ],
)
def test_schedule(dag_bag: DagBag, dag_id: str, schedule: str) -> None:
    found: Any = dag(dag_bag, dag_id)
    assert schedule in (type(found.timetable).__name__, str(found.schedule))


def test_maintenance_runs_without_anybody_asking_and_not_at_once_on_a_new_machine(dag_bag: DagBag) -> None:
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.trigger import CronTriggerTimetable

    found: Any = dag(dag_bag, "lake_maintenance")
    assert found.is_paused_upon_creation is False
    assert found.start_date is None
    told = found.timetable
    timetable = CronTriggerTimetable(told.expression, timezone="UTC", run_immediately=told.run_immediately)
    first = timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(None, None, catchup=False)
    )
    assert first is not None
    assert first.run_after > datetime.now(UTC)


def test_the_stream_is_one_task_that_waits_without_a_slot(dag_bag: DagBag) -> None:
    from medallion_ops.spark.operators import StreamDriverOperator

    (task,) = dag(dag_bag, "customers_streaming").tasks
    assert isinstance(task, StreamDriverOperator)
    assert task.dataset == "customers"


def test_a_replay_counts_first_and_sends_only_when_told_to(dag_bag: DagBag) -> None:
    found = dag(dag_bag, "customers_replay")
    assert edges(found) == {
        ("count_rows", "skip_unless_rows_to_send"),
        ("skip_unless_rows_to_send", "send_rows"),
        ("send_rows", "await_verdicts"),
    }
    assert found.params["dry_run"] is True, "a click on Trigger must not send anything unasked"


def test_a_replay_waits_without_a_slot(dag_bag: DagBag) -> None:
    waiting: Any = dag(dag_bag, "customers_replay").get_task("await_verdicts")
    assert waiting.mode == "reschedule"


def test_a_rebuild_stops_the_stream_before_and_starts_it_after_whatever_happened(dag_bag: DagBag) -> None:
    found = dag(dag_bag, "customers_rebuild")
    assert edges(found) == {
        ("stop_stream", "wait_for_stream"),
        ("stop_stream", "start_stream"),
        ("wait_for_stream", "rebuild_silver"),
        ("rebuild_silver", "start_stream"),
        ("rebuild_silver", "rebuild_gold"),
        ("rebuild_silver", "report_silver"),
        ("rebuild_gold", "report_gold"),
    }
    assert found.get_task("stop_stream").is_setup
    start = found.get_task("start_stream")
    assert start.is_teardown
    assert start.on_failure_fail_dagrun, "a stream that stays stopped must turn the run red"


def test_gold_is_rebuilt_through_its_own_dag_and_gate(dag_bag: DagBag) -> None:
    gold: Any = dag(dag_bag, "customers_rebuild").get_task("rebuild_gold")
    assert gold.trigger_dag_id == "customers_gold"
    assert gold.wait_for_completion
    assert gold.deferrable


def test_maintenance_asks_what_gold_was_published_from_before_it_removes_anything(dag_bag: DagBag) -> None:
    assert edges(dag(dag_bag, "lake_maintenance")) == {
        edge
        for dataset in dataset_names()
        for edge in (
            (f"{dataset}.published_version", f"{dataset}.optimize_and_vacuum"),
            (f"{dataset}.optimize_and_vacuum", f"{dataset}.clean_staging"),
        )
    }, "no task of one dataset waits for another's"


def run_parameters(bag: DagBag, dag_id: str, conf: dict[str, Any]) -> None:
    """Check the parameters of a run as Airflow does when the run is made."""
    params = dag(bag, dag_id).params
    type(params)({name: params.get_param(name) for name in params}).update(conf)


@pytest.mark.parametrize(
    ("dag_id", "conf"),
    [
        ("customers_producer", {"source": "kafka"}),
        ("customers_producer", {"count": 0}),
        ("customers_producer", {"file": ""}),
        ("customers_producer", {"broken": -1}),
        ("customers_rebuild", {"mode": "quickly"}),
        ("customers_replay", {"reasons": ["whatever"]}),
        ("customers_replay", {"reasons": "malformed"}),
        ("customers_replay", {"dry_run": "no"}),
    ],
)
def test_wrong_parameters_are_refused_when_the_run_is_made(
    dag_bag: DagBag, dag_id: str, conf: dict[str, Any]
) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        run_parameters(dag_bag, dag_id, conf)


@pytest.mark.parametrize(
    ("dag_id", "conf"),
    [
        ("customers_producer", {"source": "telco", "file": "/data/telco.csv", "count": None, "late": 0.01}),
        ("customers_replay", {"reasons": ["malformed", "type:f", "late"], "from": "2026-11-24T10:00:00Z"}),
        ("customers_rebuild", {"mode": "judge-again"}),
    ],
)
def test_right_parameters_are_taken(dag_bag: DagBag, dag_id: str, conf: dict[str, Any]) -> None:
    run_parameters(dag_bag, dag_id, conf)


def test_a_rebuild_of_gold_that_failed_is_not_triggered_again(dag_bag: DagBag) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from medallion_ops.alerts.failures import AlreadyMailed

    task: Any = dag(dag_bag, "customers_rebuild").get_task("rebuild_gold")
    assert issubclass(AlreadyMailed, AirflowFailException), "no retry"
    with pytest.raises(AlreadyMailed, match="customers_gold failed"):
        task.execute_complete({}, ("trigger", {"run_ids": ["run"], "run": "failed"}))
    task.execute_complete({}, ("trigger", {"run_ids": ["run"], "run": "success"}))
