"""What people read of an incident, whoever noticed it: the monitor, or the watcher outside Airflow."""

from __future__ import annotations

from datetime import datetime

from medallion_ops.alerts.alert import Alert, Level
from medallion_ops.monitor.problem import Problem
from medallion_ops.monitor.transitions import Notice

_LEADS = {Notice.OPENED: "", Notice.REMINDER: "Still: ", Notice.CLOSED: "Over: "}


def incident_alert(problem: Problem, notice: Notice, since: datetime, closed_at: datetime | None) -> Alert:
    """The alert of an incident; notes, links and key are the caller's.

    Args:
        problem: what is wrong, or was.
        notice: why people are notified.
        since: when it began, UTC.
        closed_at: when it ended, UTC; None while it is open.
    """
    about = ": ".join(
        part for part in (problem.dataset, problem.code.replace("_", " "), problem.subject) if part
    )
    is_over = notice is Notice.CLOSED
    return Alert(
        subject=f"{_LEADS[notice]}{about}",
        level=Level.RESOLVED if is_over else problem.level,
        happened=[f"It is over. What it was: {problem.happened}" if is_over else problem.happened],
        since=since,
        meaning="" if is_over else problem.meaning,
        first_step="" if is_over else problem.first_step,
        facts={"Until": f"{closed_at:%Y-%m-%d %H:%M:%S} UTC"} if closed_at else {},
    )
