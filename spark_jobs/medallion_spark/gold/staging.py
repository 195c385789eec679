"""Sets of staging tables: opening one, finding out what it holds, and dropping those nobody needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg

from medallion_contracts.compile.postgres import (
    STAGING,
    Scope,
    columns,
    create_staging,
    fingerprint_query,
    quoted,
    scopes,
    staged_columns,
    staging_name,
)
from medallion_contracts.errors import GoldError
from medallion_contracts.model import Column, Dataset

log = logging.getLogger(__name__)
LABELS = "_labels"
"""The table of a set that holds the enrichment source's labels while they are taken over."""
_LOCK = 4_151_002  # first half of the advisory locks of sets under way; the second is the set's id


@contextmanager
def open_set(connected: psycopg.Connection, dataset: Dataset) -> Iterator[int]:
    """A new set with its empty tables, under a lock that tells others that it is being written.

    Args:
        connected: an autocommit connection that stays open as long as the set is written: the lock is its.
        dataset: whose gold tables to stage.
    """
    [(set_id,)] = connected.execute(
        "SELECT nextval(pg_get_serial_sequence('staging.manifests', 'set_id'))"
    ).fetchall()
    connected.execute("SELECT pg_advisory_lock(%s, %s)", [_LOCK, set_id])
    for name, staged in staged_tables(dataset).items():
        connected.execute(create_staging(staging_name(set_id, name), staged).encode())
    try:
        yield int(set_id)
    finally:
        if not connected.closed and not connected.broken:
            connected.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCK, set_id])


def staged_tables(dataset: Dataset) -> dict[str, tuple[Column, ...]]:
    """The staging tables of a set and their columns: the gold tables and the lists that scope them."""
    tables = {name: staged_columns(dataset, table) for name, table in dataset.gold.items()}
    return tables | {scope.name: (scope.column,) for scope in scopes(dataset)}


def index_and_analyze(connected: psycopg.Connection, set_id: int, scope: Scope) -> None:
    """Give a staged list its key and its statistics: joins with it must know how short it is."""
    table = quoted(STAGING, staging_name(set_id, scope.name))
    connected.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({columns([scope.column.name])})".encode())
    connected.execute(f"ANALYZE {table}".encode())


def measure(
    connected: psycopg.Connection, set_id: int, copied: Mapping[str, int]
) -> dict[str, dict[str, object]]:
    """Rows and checksum of each staging table, for the manifest.

    Args:
        connected: a connection.
        set_id: the set.
        copied: rows by table as Spark counted them.

    Raises:
        GoldError: a table does not hold the rows that Spark copied.
    """
    measured: dict[str, dict[str, object]] = {}
    for name, rows in copied.items():
        table = staging_name(set_id, name)
        connected.execute(f"ANALYZE {quoted(STAGING, table)}".encode())
        [(stored, checksum)] = connected.execute(fingerprint_query(table).encode()).fetchall()
        if stored != rows:
            raise GoldError(
                f"staging.{table} holds {stored:,} rows, but Spark copied {rows:,}: Postgres was probably "
                "restarted while the set was written; run again"
            )
        measured[name] = {"rows": rows, "checksum": checksum}
    return measured


def drop_old_sets(connected: psycopg.Connection, dataset: Dataset, newest: int) -> list[int]:
    """Drop the staging tables of sets that nobody needs any more; returns their ids.

    Kept are: sets being written (their lock is held), and of the complete ones the latest that is not
    published, which may be blocked and waiting for a person, and those younger than `newest`: of another run
    that ended before this one. A table that somebody is reading is left to the next run.
    """
    kept = connected.execute(
        "SELECT max(set_id) FROM staging.manifests m WHERE dataset = %s AND set_id < %s "
        "AND NOT EXISTS (SELECT 1 FROM gold.publications p WHERE p.set_id = m.set_id)",
        [dataset.name, newest],
    ).fetchone()
    others = connected.execute(
        "SELECT DISTINCT split_part(substr(c.relname, 2), '_', 1)::bigint AS set_id FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "LEFT JOIN staging.manifests m ON m.set_id = split_part(substr(c.relname, 2), '_', 1)::bigint "
        "WHERE n.nspname = %s AND c.relkind = 'r' AND c.relname ~ '^s[0-9]+_' "
        "AND (m.dataset IS NULL OR m.dataset = %s AND m.set_id < %s)",
        [STAGING, dataset.name, newest],
    ).fetchall()
    spared = kept[0] if kept else None
    return [set_id for (set_id,) in sorted(others) if set_id != spared and _drop(connected, dataset, set_id)]


def drop_set(connected: psycopg.Connection, dataset: Dataset, set_id: int) -> None:
    """Drop the tables of a set that nobody else knows of."""
    for name in (*staged_tables(dataset), LABELS):
        connected.execute(f"DROP TABLE IF EXISTS {quoted(STAGING, staging_name(set_id, name))}".encode())
    connected.execute("DELETE FROM staging.copies WHERE set_id = %s", [set_id])


def _drop(connected: psycopg.Connection, dataset: Dataset, set_id: int) -> bool:
    [(free,)] = connected.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, set_id]).fetchall()
    if not free:
        return False
    try:
        with connected.transaction():
            connected.execute("SET LOCAL lock_timeout = '2s'")
            drop_set(connected, dataset, set_id)
    except psycopg.errors.LockNotAvailable:
        log.info("staging set %s is being read: left to the next run", set_id)
        return False
    finally:
        connected.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCK, set_id])
    return True
