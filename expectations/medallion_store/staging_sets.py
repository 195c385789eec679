"""Sets of staging tables: opening one, and the one protocol to drop those that no one needs.

A set under way is known by an advisory lock that its writer's transaction holds: it ends with the writer,
whatever ends it, and it works behind a pooler. Whoever drops a set takes the same lock first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medallion_contracts.compile.postgres import STAGING, create_staging, scopes, staged_columns, staging_name
from medallion_contracts.model import Column, Dataset
from medallion_store.manifests import datasets_of_sets, newest_unpublished_set, next_set_id
from medallion_store.postgres import gold_connection
from medallion_store.secret import Secret

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)
_LOCK = 4_151_002  # first half of the advisory locks of sets under way; the second is the set's id
_READER_PATIENCE = "2s"


def staged_tables(dataset: Dataset) -> dict[str, tuple[Column, ...]]:
    """The staging tables of a set and their columns: the gold tables and the lists that scope them."""
    tables = {name: staged_columns(dataset, table) for name, table in dataset.gold.items()}
    return tables | {scope.name: scope.columns for scope in scopes(dataset)}


@contextmanager
def open_set(connection: psycopg.Connection, dataset: Dataset, dsn: Secret) -> Iterator[int]:
    """A new set with its empty tables, under a lock that tells others that it is being written.

    Args:
        connection: An autocommit connection.
        dataset: Whose gold tables to stage.
        dsn: Login for the connection that holds the lock.
    """
    set_id = next_set_id(connection)
    with gold_connection(dsn, application=f"medallion writes set {set_id}") as keeper:
        keeper.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # as long as the set is written
        keeper.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, set_id])
        for name, staged in staged_tables(dataset).items():
            connection.execute(create_staging(staging_name(set_id, name), staged).encode())
        yield set_id


def drop_replaced_sets(connection: psycopg.Connection, dataset: Dataset, newest: int) -> list[int]:
    """Drop the staging tables of sets that `newest` replaces; returns their ids.

    Kept are: sets being written (their lock is held), and of the complete ones the latest that is not
    published, which may be blocked and waiting for a person, and those younger than `newest`: of another run
    that ended before this one. A table that somebody is reading is left to the next run.
    """
    waiting = newest_unpublished_set(connection, dataset.name, before=newest)
    owners = _staged(connection)
    return [
        set_id
        for set_id, owner in sorted(owners.items())
        if (owner is None or (owner == dataset.name and set_id < newest))
        and set_id != waiting
        and drop_set(connection, set_id)
    ]


def drop_sets_up_to(connection: psycopg.Connection, dataset: str, published: int) -> list[int]:
    """Drop the staging tables of a dataset's complete sets up to the published one; returns their ids.

    Their rows are in gold, or another set's took their place. A newer set may be waiting for a person's
    decision and stays.
    """
    owners = _staged(connection)
    return [
        set_id
        for set_id, owner in sorted(owners.items())
        if owner == dataset and set_id <= published and drop_set(connection, set_id)
    ]


def drop_set(connection: psycopg.Connection, set_id: int, *, is_own: bool = False) -> bool:
    """Drop whatever tables of a set there are, in one transaction; false when somebody uses them.

    Args:
        connection: Any connection.
        set_id: The set.
        is_own: The caller is the set's writer, and holds its lock by another connection.
    """
    import psycopg
    from psycopg import sql

    try:
        with connection.transaction():
            lock = "SELECT pg_try_advisory_xact_lock(%s, %s)"
            if not is_own and connection.execute(lock, [_LOCK, set_id]).fetchall() == [(False,)]:
                return False
            connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_READER_PATIENCE))
            for name in _tables_of(connection, set_id):
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(STAGING, name)))
            connection.execute("DELETE FROM staging.copies WHERE set_id = %s", [set_id])
    except psycopg.errors.LockNotAvailable:
        log.info("staging set %s is being read: left to the next run", set_id)
        return False
    return True


def _tables_of(connection: psycopg.Connection, set_id: int) -> list[str]:
    query = (
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relkind = 'r' AND starts_with(c.relname, %s) ORDER BY 1"
    )
    return [name for (name,) in connection.execute(query, [STAGING, staging_name(set_id, "")])]


def _staged(connection: psycopg.Connection) -> dict[int, str | None]:
    """Sets that have tables, with their dataset; None for one without a manifest."""
    query = (
        "SELECT DISTINCT substring(c.relname FROM '^s([0-9]{1,18})_')::bigint FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relkind = 'r' AND c.relname ~ '^s[0-9]{1,18}_'"
    )
    set_ids = [set_id for (set_id,) in connection.execute(query, [STAGING])]
    known = datasets_of_sets(connection, set_ids)
    return {set_id: known.get(set_id) for set_id in set_ids}
