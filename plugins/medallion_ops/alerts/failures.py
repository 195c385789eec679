"""The alert about a failed task: each DAG has it as its failure callback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from medallion_contracts.errors import MedallionError, StreamEnded
from medallion_ops.alerts.alert import Alert
from medallion_ops.alerts.mail import task_link
from medallion_ops.alerts.sending import send
from medallion_ops.alerts.settings import AlertSettings
from medallion_ops.streaming.consequences import WAITS, stream_consequence

log = logging.getLogger(__name__)

_UNFINISHED = {
    "timed_out": "it took longer than a run may (MEDALLION_LIMIT_RUN_MINUTES); what ran was ended",
    "all_tasks_deadlocked": "none of its tasks can go on",
}
"""Airflow's words for the end of a run that no task's failure explains, and ours."""


class AlreadyMailed(AirflowFailException):
    """A failure whose cause another task has mailed: a second mail says nothing new. It is not retried."""


@dataclass(frozen=True)
class Consequence:
    """What a failure of a DAG means for the data, and what a person does first."""

    meaning: str
    first_step: str


_BY_KIND = {
    "gold": Consequence(
        "The rows of gold stay as the last publication left them, and none is lost. The next hourly run "
        "starts from that publication and takes along what this one did not publish.",
        "Read the reason. If it will not go away by itself, remove it and clear the failed task, or wait for "
        "the next run.",
    ),
    "streaming": Consequence(
        WAITS,
        "Read the reason and `python -m medallion_ops.control show`. Airflow submits the stream again.",
    ),
    "producer": Consequence(
        "Some events of this run may not have been sent. What Kafka acknowledged is in the task's log.",
        "Correct the reason and trigger the DAG again: events that arrive twice become duplicates.",
    ),
    "replay": Consequence(
        "The chosen quarantine rows may not all have been judged again. None is lost or taken twice.",
        "Correct the reason and clear the failed task.",
    ),
    "rebuild": Consequence(
        "Silver is either as it was or wholly rebuilt, never half. The stream rests until the run ends.",
        "Correct the reason and clear the failed task, or run `python -m medallion_ops.control start`.",
    ),
    "lake_maintenance": Consequence(
        "No data is touched: tables keep more small files and old versions until the next night.",
        "Read the reason; one missed night is harmless.",
    ),
    "platform_monitor": Consequence(
        "Data flows on, but problems may go unnoticed while the monitor fails.",
        "Read the reason in the task's log.",
    ),
}
"""By the part of a dag_id after the dataset, or by the whole dag_id."""

_UNKNOWN = Consequence("", "Read the reason; the DAG's page says what to do.")


def consequence(dag_id: str) -> Consequence:
    """What a failure of this DAG means."""
    return _BY_KIND.get(dag_id) or _BY_KIND.get(dag_id.rpartition("_")[2], _UNKNOWN)


def mail_failure(context: Mapping[str, Any]) -> None:
    """Airflow's `on_failure_callback`: notifies people which task failed, and why.

    An alert that cannot be sent or kept is an error in the task's log; the task has failed already.
    """
    if isinstance(context.get("exception"), AlreadyMailed):
        return
    try:
        alerts = AlertSettings.from_environment()
        send(failure_alert(context, alerts), alerts)
    except MedallionError as error:
        log.error("no failure mail was sent: %s", error)  # the message says all


def mail_unfinished_run(context: Mapping[str, Any]) -> None:
    """The DAGs' `on_failure_callback`: notifies people of a run that ended with no failed task.

    Airflow ends a run that takes too long by skipping its tasks, which no task's callback hears of. What a
    failed task has mailed is not mailed again.
    """
    if context.get("reason") not in _UNFINISHED:
        return
    try:
        alerts = AlertSettings.from_environment()
        send(unfinished_run_alert(context, alerts), alerts)
    except MedallionError as error:
        log.error("no mail about the run was sent: %s", error)


def unfinished_run_alert(context: Mapping[str, Any], alerts: AlertSettings) -> Alert:
    """The content of that alert.

    Args:
        context: Airflow's, of the run.
        alerts: hold Airflow's address.
    """
    dag_id, run, last = context["dag"].dag_id, context["run_id"], context.get("ti")
    link = task_link(alerts, dag_id, run)
    means = consequence(dag_id)
    facts = {"Reason": _UNFINISHED[context["reason"]], "Run": run}
    return Alert(
        subject=f"{dag_id}: a run ended unfinished",
        happened=[f"A run of {dag_id} ended before its tasks did."],
        meaning=means.meaning,
        first_step=means.first_step,
        facts=facts if last is None else {**facts, "Last task": last.task_id},
        links={} if link is None else {"Run": link},
        key=f"unfinished {dag_id} {run}",
    )


def failure_alert(context: Mapping[str, Any], alerts: AlertSettings) -> Alert:
    """The content of that alert.

    Args:
        context: Airflow's, of the failed task.
        alerts: hold Airflow's address.
    """
    task = context["ti"]
    link = task_link(alerts, task.dag_id, task.run_id, task.task_id)
    means, ended = consequence(task.dag_id), _stream_ended(context.get("exception"))
    return Alert(
        subject=f"{task.dag_id}: {task.task_id} failed",
        happened=[f"The task {task.task_id} of {task.dag_id} failed."],
        # The task that watches a stream began long before the stream's trouble did.
        since=ended.since if ended else getattr(task, "start_date", None),
        meaning=stream_consequence(ended.kind) if ended else means.meaning,
        first_step=means.first_step,
        facts={"Reason": reason(context.get("exception")), "Run": task.run_id, "Try": str(task.try_number)},
        links={} if link is None else {"Task and log": link},
        key=f"failed {task.dag_id} {task.run_id} {task.task_id} {task.try_number}",
    )


def _stream_ended(exception: object) -> StreamEnded | None:
    """What the driver's task knows of the driver's end."""
    cause = exception.__cause__ if isinstance(exception, BaseException) else None
    return cause if isinstance(cause, StreamEnded) else None


def reason(exception: object) -> str:
    """What may be mailed about an exception.

    Messages of this platform's own errors hold no secret and no customer's data. Those of a database driver
    or a library may quote the row or the address they failed at: only their class is named.
    """
    seen: object = exception
    while isinstance(seen, BaseException):
        if isinstance(seen, MedallionError):
            return str(seen)
        seen = seen.__cause__
    if type(exception).__name__ == "AirflowTaskTimeout":
        return "it took longer than a try of this task may (MEDALLION_LIMIT_*_MINUTES); what it ran was ended"
    if isinstance(exception, BaseException):
        return f"{type(exception).__name__} (its message is in the task's log)"
    return "unknown: the task's process ended without a message (see its log)"
