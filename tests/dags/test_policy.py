"""Rules that every DAG keeps; each message names the remedy."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from medallion_contracts.errors import ParameterError, ServiceUnavailable, SourceError
from medallion_contracts.loader import dataset_names
from medallion_ops.alerts.failures import mail_failure, mail_unfinished_run
from medallion_ops.dag_defaults import OWNER, TAG
from medallion_ops.monitor.limits import Limits
from medallion_ops.monitor.look import _must_run
from medallion_ops.monitor.observation import Observation
from medallion_ops.monitor.rules import problems
from medallion_ops.monitor.settings import MonitorSettings
from medallion_ops.task_start import refuse_unknown

from .conftest import DAGS

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

A_DATASET = ("gold", "producer", "rebuild", "replay", "streaming")
"""Files that make a DAG for each dataset, named <dataset>_<kind>."""
FOR_ALL = ("lake_maintenance", "platform_monitor")
"""Files with one DAG for all datasets, of their name."""
REGISTER = {f"{dataset}_{kind}" for dataset in dataset_names() for kind in A_DATASET} | {*FOR_ALL}
"""Every DAG of the platform."""

SILENT = {*(f"{dataset}_gold.keep_blocked" for dataset in dataset_names()), "platform_monitor.look"}
"""Failures that are mailed otherwise: once for a blocked episode, once by the watcher outside Airflow."""

BY_PROGRESS = {f"{dataset}_{kind}" for dataset in dataset_names() for kind in ("producer", "streaming")}
"""DAGs whose one task may run for ever as long as it gets on: it watches that itself."""

HEAVY = (
    *("pyspark", "great_expectations", "kafka", "pandas", "psycopg", "deltalake", "pyarrow", "faker"),
    *("adlfs", "azure.storage.blob", "open_data_contract_standard", "requests"),
)


def test_every_file_parses_without_settings_or_services(dag_bag: DagBag) -> None:
    assert not dag_bag.import_errors, "mend these files; settings are read when a task runs, not before"


def test_one_file_a_kind_makes_a_dag_for_each_dataset(dag_bag: DagBag) -> None:
    files = {path.stem for path in DAGS.glob("*.py")}
    assert files == {*A_DATASET, *FOR_ALL}, "name the file after its kind, and add it here and to the README"
    assert set(dag_bag.dags) == REGISTER, "add the new DAG here and to the README's table"
    for dag_id, dag in dag_bag.dags.items():
        dataset, _, kind = dag_id.rpartition("_")
        wanted = dag_id if dag_id in FOR_ALL else kind
        assert dag.fileloc.endswith(f"/{wanted}.py"), dag_id
        assert dag_id in FOR_ALL or dataset in dag.tags, f"{dag_id}: tag it with its dataset"


@pytest.mark.parametrize("kind", ["gold", "lake_maintenance"])
def test_a_setting_chooses_which_datasets_have_dags(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("MEDALLION_DATASETS", "customers")
    chosen = DagBag(DAGS / f"{kind}.py")
    assert not chosen.import_errors
    assert set(chosen.dags) == {"customers_gold" if kind == "gold" else kind}
    groups = {task.task_id.partition(".")[0] for dag in chosen.dags.values() for task in dag.tasks}
    assert groups.isdisjoint({*dataset_names()} - {"customers"})
    monkeypatch.setenv("MEDALLION_DATASETS", "customers, orders")
    assert "MEDALLION_DATASETS" in str(DagBag(DAGS / f"{kind}.py").import_errors)


def test_dags_say_what_they_are_and_whose(dag_bag: DagBag) -> None:
    for dag_id, dag in dag_bag.dags.items():
        assert dag.description, f"{dag_id}: give it a description, the UI's list shows it"
        assert len(dag.doc_md or "") > 200, f"{dag_id}: doc_md is the runbook: what is healthy, what to do"
        assert TAG in dag.tags, f"{dag_id}: tag it {TAG!r}"
        assert len(dag.tags) >= 2, f"{dag_id}: tag what it is about"
        assert dag.catchup is False, f"{dag_id}: the platform goes on from the last state, not by intervals"
        assert dag.max_active_runs == 1, f"{dag_id}: two runs at once would work on the same tables"


def test_what_runs_by_hand_only_is_not_paused(dag_bag: DagBag) -> None:
    by_hand = [dag for dag in dag_bag.dags.values() if type(dag.timetable).__name__ == "NullTimetable"]
    assert len(by_hand) >= 3
    for dag in by_hand:
        assert dag.is_paused_upon_creation is False, (
            f"{dag.dag_id}: a run that somebody triggers would wait for ever: is_paused_upon_creation=False"
        )


def test_tasks_have_an_owner_retries_and_the_failure_mail(dag_bag: DagBag) -> None:
    for dag_id, dag in dag_bag.dags.items():
        for task in dag.tasks:
            where = f"{dag_id}.{task.task_id}"
            assert task.owner == OWNER, f"{where}: pass default_args=DEFAULT_ARGS to the DAG"
            assert (task.retries or 0) >= 1, (
                f"{where}: must survive a restart of what it talks to: leave retries to DEFAULT_ARGS"
            )
            callbacks: Any = task.on_failure_callback
            assert where in SILENT or mail_failure in (callbacks or ()), (
                f"{where}: a failure nobody hears of: leave on_failure_callback to DEFAULT_ARGS"
            )


def test_nothing_can_hang_for_ever(dag_bag: DagBag) -> None:
    for dag_id, dag in dag_bag.dags.items():
        assert (dag.dagrun_timeout is None) == (dag_id in BY_PROGRESS), (
            f"{dag_id}: give it a dagrun_timeout from dag_defaults, or say here who watches its progress"
        )
        for task in dag.tasks:
            unlimited = task.execution_timeout is None
            assert not unlimited or task.task_id == "produce", (
                f"{dag_id}.{task.task_id}: leave execution_timeout to DEFAULT_ARGS, or take a limit there"
            )
            assert getattr(task, "timeout", 0) <= 24 * 3600, f"{dag_id}.{task.task_id}: a sensor of a week"


def test_a_run_outlasts_every_try_of_what_must_not_be_skipped(dag_bag: DagBag) -> None:
    dag = dag_bag.dags["customers_rebuild"]
    before = [dag.get_task(name) for name in ("stop_stream", "wait_for_stream", "rebuild_silver")]
    assert dag.dagrun_timeout
    assert dag.dagrun_timeout > sum(
        ((1 + (task.retries or 0)) * task.execution_timeout for task in before if task.execution_timeout),
        timedelta(),
    ), "Airflow skips the teardown of a run that takes too long: the stream would stay stopped"


def test_a_run_that_ends_without_a_failed_task_is_mailed(dag_bag: DagBag) -> None:
    for dag_id, dag in dag_bag.dags.items():
        callbacks: Any = dag.on_failure_callback
        assert dag_id == "platform_monitor" or mail_unfinished_run in callbacks, (
            f"{dag_id}: pass **DAG_RULES to the DAG"
        )


def test_backfills_are_refused_and_the_page_says_what_to_use_instead(dag_bag: DagBag) -> None:
    for dag_id, dag in dag_bag.dags.items():
        allowed: Any = dag.allowed_run_types
        assert allowed, f"{dag_id}: pass **DAG_RULES to the DAG: it does not work through intervals"
        assert {str(kind.value) for kind in allowed} >= {"scheduled", "manual", "operator_triggered"}
        assert "backfill" not in {str(kind.value) for kind in allowed}
        assert "**Backfill**" in (dag.doc_md or ""), f"{dag_id}: say on its page what to use instead"


def test_a_hopeless_parameter_is_not_tried_three_times_and_an_outage_is(dag_bag: DagBag) -> None:
    for dag_id, dag in dag_bag.dags.items():
        for task in dag.tasks:
            policy: Any = task.retry_policy
            where = f"{dag_id}.{task.task_id}"
            assert policy, f"{where}: leave retry_policy to DEFAULT_ARGS"
            for hopeless in (ParameterError("no", ["no"]), SourceError("no", ["no"])):
                assert policy.evaluate(hopeless, 1, 2).action.value == "fail", where
            assert policy.evaluate(ServiceUnavailable("down"), 1, 2).action.value == "default", where


def test_every_dag_survives_the_way_through_airflows_database(dag_bag: DagBag) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    for dag_id, dag in dag_bag.dags.items():
        allowed: Any = dag.allowed_run_types
        restored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert set(restored.allowed_run_types or ()) == {str(kind.value) for kind in allowed}
        assert restored.dagrun_timeout == dag.dagrun_timeout, dag_id


@pytest.mark.parametrize("dag_id", sorted(REGISTER))
def test_an_unknown_parameter_is_refused_by_the_first_task_of_every_dag_and_by_it_alone(
    dag_bag: DagBag, dag_id: str
) -> None:
    dag = dag_bag.dags[dag_id]
    run = SimpleNamespace(conf={"cout": 5})
    for task in dag.tasks:
        found: Any = task
        if task.upstream_task_ids:
            found._pre_execute_hook({"task": task, "dag_run": run})
            continue
        with pytest.raises(ParameterError, match="cout: ") as refused:
            found._pre_execute_hook({"task": task, "dag_run": run})
        assert "5" not in str(refused.value), "a value is never quoted"
        known = {name: dag.params[name] for name in dag.params}
        found._pre_execute_hook({"task": task, "dag_run": SimpleNamespace(conf=known)})
        found._pre_execute_hook({"task": task, "dag_run": SimpleNamespace(conf=None)})


def test_a_misspelled_parameter_is_told_its_right_name(dag_bag: DagBag) -> None:
    known = dag_bag.dags["customers_producer"].params
    with pytest.raises(ParameterError, match=r"cout: .* count is meant\?"):
        refuse_unknown({"cout": 5}, known)
    with pytest.raises(ParameterError) as refused:
        refuse_unknown({"postgresql://u:5ecret@h/d": 1}, known)
    assert "5ecret" not in str(refused.value)


def test_parameters_are_described_and_checked(dag_bag: DagBag) -> None:
    for dag_id, dag in dag_bag.dags.items():
        for name in dag.params:
            param = dag.params.get_param(name)
            where = f"{dag_id}: parameter {name}"
            assert param.description, f"{where}: describe it, the form shows that"
            assert "type" in param.schema or "enum" in param.schema, f"{where}: give its JSON schema type"


def test_a_dag_that_runs_by_itself_is_missed_by_the_monitor_while_it_is_paused(dag_bag: DagBag) -> None:
    scheduled = {dag_id: dag for dag_id, dag in dag_bag.dags.items() if dag.schedule is not None}
    by_itself = {dag_id for dag_id, dag in scheduled.items() if dag.is_paused_upon_creation is False}
    assert by_itself == {"lake_maintenance", "platform_monitor"}
    must_run = _must_run(dataset_names())
    assert by_itself <= set(must_run), "Airflow keeps a pause from before the DAG started by itself"
    seen = Observation(datetime(2026, 11, 28, tzinfo=UTC), paused_dags=tuple(by_itself))
    assert {one.subject for one in problems(seen, Limits({}, MonitorSettings()))} == by_itself


def test_parsing_loads_nothing_heavy() -> None:
    program = (
        "import json, sys\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        f"bag = DagBag({str(DAGS)!r})\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert not loaded, f"import these inside the function that uses them: {loaded}"


@pytest.mark.parametrize("ignored", ["medallion_ops/settings.py", "medallion_ops/spark/operators.py"])
def test_airflow_does_not_execute_the_package_as_plugins(ignored: str) -> None:
    from airflow._shared.module_loading.file_discovery import find_path_from_directory

    plugins = DAGS.parent / "plugins"
    found = {str(path) for path in find_path_from_directory(plugins, ".airflowignore", "glob")}
    assert (plugins / ignored).exists()
    assert str(plugins / ignored) not in found, "keep medallion_ops/ in plugins/.airflowignore"


def test_no_argument_of_a_task_has_a_name_that_airflow_fills_itself(dag_bag: DagBag) -> None:
    from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS

    for dag_id, dag in dag_bag.dags.items():
        for task in dag.tasks:
            given: Any = task
            function = getattr(given, "python_callable", None)
            if function is None:
                continue
            by_position = list(inspect.signature(function).parameters)[: len(given.op_args)]
            taken = KNOWN_CONTEXT_KEYS & {*by_position, *given.op_kwargs}
            assert not taken, f"{dag_id}.{task.task_id}: rename {taken}: such a task fails when it runs"
