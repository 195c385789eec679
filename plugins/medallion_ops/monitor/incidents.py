"""Incidents in Postgres (audit.incidents): what a look changes, and what people say about them.

Crash points: a look's changes and the mails about them are one transaction (mails go to audit.outbox), so an
incident is neither lost nor mailed twice, whenever the monitor is killed; two monitors take turns by a lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from medallion_contracts.errors import ParameterError
from medallion_ops.alerts.alert import Alert, Level
from medallion_ops.monitor.incident_alert import incident_alert
from medallion_ops.monitor.problem import Problem
from medallion_ops.monitor.transitions import (
    REOPEN_WITHIN,
    Change,
    Incident,
    Notice,
    Window,
    changes,
)

if TYPE_CHECKING:
    import psycopg

KEPT = timedelta(days=400)
"""Closed incidents are history for a little over a year."""
_LOCK = "medallion.monitor"
_COLUMNS = (
    "incident_id, code, dataset, subject, opened_at, last_seen_at, closed_at, clear_looks, acknowledged_at, "
    "muted_until, mailed, mailed_at"
)


def record_look(
    connection: psycopg.Connection, seen: Iterable[Problem], now: datetime, links: dict[str, str]
) -> list[Alert]:
    """Bring incidents in line with what a look saw.

    Args:
        connection: to gold, as the writer; the caller commits once the alerts are in the outbox.
        seen: the problems of this look.
        now: UTC.
        links: of the mails, label to address; `{code}` in an address becomes the incident's code.

    Returns:
        the alerts that are due.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [_LOCK])
    due = []
    for change in changes(_known(connection, now), seen, _windows(connection, now), now):
        incident_id = _apply(connection, change, now)
        if change.notice is not None:
            due.append(_alert(connection, incident_id, change.notice, links))
    connection.execute("DELETE FROM audit.incidents WHERE closed_at < %s", [now - KEPT])
    return due


def _known(connection: psycopg.Connection, now: datetime) -> list[Incident]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM audit.incidents "
        "WHERE watch_key IS NULL AND (closed_at IS NULL OR closed_at > %s)",
        [now - REOPEN_WITHIN],
    )
    return [
        Incident(*known, mailed=None if mailed is None else Notice(mailed), mailed_at=mailed_at)  # type: ignore[misc]
        for *known, mailed, mailed_at in rows
    ]


def _windows(connection: psycopg.Connection, now: datetime) -> list[Window]:
    rows = connection.execute(
        "SELECT starts_at, ends_at, dataset FROM audit.maintenance_windows WHERE ends_at > %s", [now]
    )
    return [Window(*row) for row in rows]


def _apply(connection: psycopg.Connection, change: Change, now: datetime) -> int:
    """Write one change; gives the incident's id."""
    problem, incident = change.problem, change.incident
    if incident is None:
        assert problem is not None  # noqa: S101  # by the rules of `changes`
        row = connection.execute(
            "INSERT INTO audit.incidents (code, dataset, subject, level, happened, meaning, "
            "first_step, opened_at, last_seen_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "RETURNING incident_id",
            [
                problem.code,
                problem.dataset,
                problem.subject,
                problem.level,
                problem.happened,
                problem.meaning,
                problem.first_step,
                now,
                now,
            ],
        ).fetchone()
        assert row is not None  # noqa: S101  # RETURNING
        incident_id = int(row[0])
    elif problem is not None:
        incident_id = incident.incident_id
        connection.execute(
            "UPDATE audit.incidents SET level = %s, happened = %s, last_seen_at = %s, clear_looks = 0, "
            "closed_at = NULL WHERE incident_id = %s",
            [problem.level, problem.happened, now, incident_id],
        )
    else:
        incident_id = incident.incident_id
        connection.execute(
            "UPDATE audit.incidents SET clear_looks = clear_looks + 1, closed_at = %s WHERE incident_id = %s",
            [now if change.closes else None, incident_id],
        )
    if change.notice is not None:
        connection.execute(
            "UPDATE audit.incidents SET mailed = %s, mailed_at = %s WHERE incident_id = %s",
            [change.notice, now, incident_id],
        )
    return incident_id


def _alert(connection: psycopg.Connection, incident_id: int, notice: Notice, links: dict[str, str]) -> Alert:
    row = connection.execute(
        "SELECT code, happened, meaning, first_step, dataset, subject, level, opened_at, closed_at, "
        "mailed_at FROM audit.incidents WHERE incident_id = %s",
        [incident_id],
    ).fetchone()
    assert row is not None  # noqa: S101  # written by this transaction
    code, happened, meaning, first_step, dataset, subject, level, opened_at, closed_at, mailed_at = row
    problem = Problem(code, happened, meaning, first_step, dataset, subject, Level(level))
    alert = incident_alert(problem, notice, opened_at, closed_at)
    return replace(
        alert,
        facts={"Incident": str(incident_id), **alert.facts},
        notes=[]
        if notice is Notice.CLOSED
        else [
            f"`python -m medallion_ops.incidents acknowledge {incident_id}` ends reminders; `mute` its mails."
        ],
        links={label: address.replace("{code}", code) for label, address in links.items()},
        key=f"incident {incident_id} {notice} {mailed_at.isoformat()}",
    )


def acknowledge(connection: psycopg.Connection, incident_id: int, by: str) -> None:
    """Someone works on an incident: no more reminders.

    Args:
        connection: to gold, as the writer.
        incident_id: of an open incident.
        by: who.

    Raises:
        ParameterError: there is no such open incident.
    """
    _update_open(
        connection,
        incident_id,
        "acknowledged_at = clock_timestamp(), acknowledged_by = %s",
        [by],
    )


def mute(connection: psycopg.Connection, incident_id: int, by: str, until: datetime) -> None:
    """Hold back an incident's mails until a time.

    Args:
        connection: to gold, as the writer.
        incident_id: of an open incident.
        by: who.
        until: with a time zone.

    Raises:
        ParameterError: there is no such open incident.
    """
    _update_open(connection, incident_id, "muted_until = %s, muted_by = %s", [until, by])


def _update_open(
    connection: psycopg.Connection, incident_id: int, assignments: str, values: Sequence[object]
) -> None:
    done = connection.execute(
        f"UPDATE audit.incidents SET {assignments} WHERE incident_id = %s AND closed_at IS NULL".encode(),
        [*values, incident_id],
    )
    if not done.rowcount:
        raise ParameterError("the incident cannot be changed", [f"{incident_id}: no such open incident"])


def plan_window(
    connection: psycopg.Connection, dataset: str, starts_at: datetime, ends_at: datetime, reason: str, by: str
) -> int:
    """Plan a maintenance window; gives its id.

    Args:
        connection: to gold, as the writer.
        dataset: which; empty for all.
        starts_at: with a time zone.
        ends_at: with a time zone, later.
        reason: for people.
        by: who.

    Raises:
        ParameterError: it ends before it starts.
    """
    if ends_at <= starts_at:
        raise ParameterError("the window cannot be planned", ["it must end after it starts"])
    row = connection.execute(
        "INSERT INTO audit.maintenance_windows (dataset, starts_at, ends_at, reason, created_by) "
        "VALUES (%s, %s, %s, %s, %s) RETURNING window_id",
        [dataset, starts_at, ends_at, reason, by],
    ).fetchone()
    assert row is not None  # noqa: S101  # RETURNING
    return int(row[0])
