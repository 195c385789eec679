"""The watcher's incidents in Postgres: history and acknowledgement in the same table as the monitor's."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from medallion_ops.watch.troubles import Trouble
from medallion_store.postgres import has_relation

if TYPE_CHECKING:
    import psycopg


def newest_look(connection: psycopg.Connection) -> datetime | None:
    """When the monitor last looked; None when it never has.

    Args:
        connection: to gold, as the writer.
    """
    if not has_relation(connection, "audit.monitor_samples"):
        return None
    row = connection.execute("SELECT max(at) FROM audit.monitor_samples").fetchone()
    return row[0] if row else None


def quiet_until(connection: psycopg.Connection, now: datetime) -> datetime | None:
    """When the planned work under way ends; None when there is none.

    Args:
        connection: to gold, as the writer.
        now: UTC.
    """
    row = connection.execute(
        "SELECT max(ends_at) FROM audit.maintenance_windows "
        "WHERE dataset = '' AND starts_at <= %(now)s AND ends_at > %(now)s",
        {"now": now},
    ).fetchone()
    return row[0] if row else None


def record(connection: psycopg.Connection, trouble: Trouble, now: datetime) -> Trouble:
    """Bring the incident's row in line with it; the same again changes nothing.

    Args:
        connection: to gold, as the writer.
        trouble: one that was opened.
        now: UTC.

    Returns:
        the trouble with what people said of it meanwhile.
    """
    problem = trouble.problem
    row = connection.execute(
        "INSERT INTO audit.incidents AS i (watch_key, code, subject, level, happened, meaning, first_step, "
        "opened_at, last_seen_at, closed_at, mailed, mailed_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (watch_key) DO UPDATE SET "
        "happened = excluded.happened, last_seen_at = excluded.last_seen_at, "
        "closed_at = excluded.closed_at, mailed = excluded.mailed, mailed_at = excluded.mailed_at "
        "RETURNING i.acknowledged_at IS NOT NULL OR coalesce(i.muted_until > %s, false)",
        [
            trouble.key,
            problem.code,
            problem.subject,
            problem.level,
            problem.happened,
            problem.meaning,
            problem.first_step,
            trouble.opened_at,
            trouble.seen_at,
            trouble.closed_at,
            trouble.mailed,
            trouble.mailed_at,
            now,
        ],
    ).fetchone()
    return replace(trouble, is_recorded=True, is_acknowledged=bool(row and row[0]))
