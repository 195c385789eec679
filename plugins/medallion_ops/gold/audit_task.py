"""Audits the set of a run in a process of its own, as Great Expectations takes long to load."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any, Protocol

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from medallion_contracts.errors import GoldError, StaleStaging
from medallion_ops.gate.__main__ import EXIT_STALE
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.processes import end_with_children, ending_with_parent
from medallion_store.manifests import manifest_of_run
from medallion_store.postgres import gold_connection
from medallion_store.publications import publication_of_set

log = logging.getLogger(__name__)


class TaskReports(Protocol):
    """What the tasks of a run gave back; a task instance of Airflow is one."""

    def xcom_pull(self, *, task_ids: str) -> Any:
        """What a task gave back, None when it did not end by itself."""


def audit(
    dataset: str, run_id: str, ti: TaskReports, *, written_by: str, must_pass: bool = False
) -> dict[str, Any]:
    """Check the run's set in a process of its own; gives the gate's summary.

    Args:
        dataset: The dataset.
        run_id: The run.
        ti: This task instance.
        written_by: The task that wrote the set, or found that there was nothing to write.
        must_pass: Whether a set that fails fails the task.

    Raises:
        AirflowSkipException: The run wrote no set, as there was nothing new after all.
        AirflowFailException: Staging is gone, the set failed that `must_pass`, or the job that writes did not
            end by itself: a retry cannot help.
        GoldError: The gate came to no verdict.
    """
    job = ti.xcom_pull(task_ids=written_by)
    with gold_connection(GoldSettings.from_environment().dsn) as connection:
        written = manifest_of_run(connection, dataset, run_id)
        done = written is not None and publication_of_set(connection, written.set_id) is not None
    if not job and (written is None or done or must_pass):
        # Marked as done by a person while it ran: nothing says that there was nothing to write.
        unwritten = GoldError(
            f"the task {written_by} of run {run_id} did not end by itself, and there is no new set of "
            f"{dataset}: gold stays as it is; clear the task {written_by}"
        )
        raise AirflowFailException(str(unwritten)) from unwritten
    if written is None:
        raise AirflowSkipException("this run wrote no set: there was nothing new")
    summary = _run_gate(dataset, written.set_id)
    if must_pass and not summary["passed"]:
        failed = GoldError(
            f"set {written.set_id} still fails without the rows left out: "
            f"{', '.join(summary['failed_critical'])}; gold stays as it is, the next run asks again"
        )
        raise AirflowFailException(str(failed)) from failed
    return summary


def _run_gate(dataset: str, set_id: int) -> dict[str, Any]:
    """`python -m medallion_ops.gate`; what it logs goes to the task's log line by line."""
    command = [sys.executable, "-m", "medallion_ops.gate", "--dataset", dataset, "--set-id", str(set_id)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    said: list[str] = []
    with subprocess.Popen(
        ending_with_parent(command),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as gate:
        try:
            # Its stdout is one line at the end: the pipe cannot fill up while stderr is read.
            for line in gate.stderr or ():
                said.append(line.rstrip())
                log.info("%s", said[-1])
            output = gate.stdout.read() if gate.stdout else ""
        except BaseException:
            end_with_children(gate)
            raise
    if gate.returncode == EXIT_STALE:
        stale = StaleStaging(said[-1] if said else f"staging of set {set_id} is not what was written")
        raise AirflowFailException(str(stale)) from stale
    if gate.returncode:
        raise GoldError(f"the gate came to no verdict on set {set_id}: {said[-1] if said else 'see the log'}")
    summary: dict[str, Any] = json.loads(output.splitlines()[-1])
    return summary
