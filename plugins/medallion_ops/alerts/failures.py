"""The mail about a failed task: each DAG has it as its failure callback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from medallion_contracts.errors import MedallionError
from medallion_ops.alerts.mail import Mail, compose, send, task_link
from medallion_ops.settings import AlertSettings

log = logging.getLogger(__name__)


def mail_failure(context: Mapping[str, Any]) -> None:
    """Airflow's `on_failure_callback`: tells who gets alerts which task failed, and why.

    A mail that cannot be sent is an error in the task's log; the task has failed already.
    """
    try:
        alerts = AlertSettings.from_environment()
        send(failure_mail(context, alerts), alerts)
    except MedallionError as error:
        log.error("no failure mail was sent: %s", error)  # the message says all


def failure_mail(context: Mapping[str, Any], alerts: AlertSettings) -> Mail:
    """The content of that mail."""
    task = context["ti"]
    link = task_link(alerts, task.dag_id, task.run_id, task.task_id)
    return compose(
        subject=f"{task.dag_id}: {task.task_id} failed",
        lead=f"The task {task.task_id} of {task.dag_id} failed. What to do is on the DAG's page.",
        facts={"Reason": reason(context.get("exception")), "Run": task.run_id, "Try": str(task.try_number)},
        links={} if link is None else {"Task and log": link},
    )


def reason(exception: object) -> str:
    """What may be mailed about an exception.

    Messages of this platform's own errors hold no secret and no customer's data. Those of a database driver
    or a library may quote the row or the address they failed at: only their class is told.
    """
    seen: object = exception
    while isinstance(seen, BaseException):
        if isinstance(seen, MedallionError):
            return str(seen)
        seen = seen.__cause__
    if isinstance(exception, BaseException):
        return f"{type(exception).__name__} (its message is in the task's log)"
    return "unknown: the task's process ended without a message (see its log)"
