"""What people change on the page. Safe to send twice: the second says the same again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from medallion_ops.monitor import incidents
from medallion_ops.page.database import writing


def acknowledge(incident_id: int, by: str) -> str:
    """Someone works on an incident; gives what was done.

    Args:
        incident_id: of an open incident.
        by: who, as Airflow knows them.

    Raises:
        ParameterError: there is no such open incident.
        ServiceUnavailable: Postgres does not answer.
    """
    with writing() as gold:
        incidents.acknowledge(gold, incident_id, by)
    return f"Incident {incident_id} is acknowledged by {by}."


def mute(incident_id: int, by: str, hours: float) -> str:
    """Hold back an incident's mails; gives what was done.

    Args:
        incident_id: of an open incident.
        by: who, as Airflow knows them.
        hours: for how long.

    Raises:
        ParameterError: there is no such open incident.
        ServiceUnavailable: Postgres does not answer.
    """
    until = datetime.now(UTC) + timedelta(hours=hours)
    with writing() as gold:
        incidents.mute(gold, incident_id, by, until)
    return f"Incident {incident_id} is muted until {until:%Y-%m-%d %H:%M} UTC."


def plan_maintenance(dataset: str, by: str, hours: float, reason: str) -> str:
    """Plan work from now on; gives what was done.

    Args:
        dataset: which; empty for all.
        by: who, as Airflow knows them.
        hours: for how long.
        reason: for people.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    now = datetime.now(UTC)
    until = now + timedelta(hours=hours)
    with writing() as gold:
        incidents.plan_window(gold, dataset, now, until, reason, by)
    return f"No incident mails of {dataset or 'the platform'} until {until:%Y-%m-%d %H:%M} UTC."
