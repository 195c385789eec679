"""Applies what the database lacks, in one transaction; doing it again, or twice at once, changes nothing.

What it lacks is read from its catalogue: a schema, table, column, index, view, role or grant that somebody
dropped is made again, and gold is computed from scratch where it lost rows by that. A change that is refused
keeps nothing else from being mended: readers read on what was published.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from medallion_contracts.errors import GoldError, MigrationError
from medallion_contracts.model import Dataset
from medallion_ops.migrations.contract_tables import own_relations, plan_schema_changes
from medallion_ops.migrations.roles import act_as_writer, ensure_roles, grant_reading, relations, take_over
from medallion_ops.migrations.scripts import MIGRATIONS, apply_scripts, recorded, scripts, tables_of
from medallion_ops.migrations.view_changes import ensure_views, make_way
from medallion_ops.migrations.views import has_pii, views_of
from medallion_store.postgres import gold_connection, has_relation
from medallion_store.secret import Secret

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)
MINIMUM_VERSION = 14
_LOCK = 4_151_001  # advisory lock of migrations; any number that nothing else here uses
_LOCK_TIMEOUT = "60s"


def migrate(dsn: Secret, dataset: Dataset) -> tuple[str, ...]:
    """Bring the database forward for a dataset; returns a line for each thing done, none when all was there.

    Crash points: it is one transaction, so a database is either as before or as after. A second run at the
    same time waits for the first and then finds nothing to do. ALTER TABLE waits for readers at most a
    minute, so that a long query cannot queue everybody else behind it; the next run tries again.

    Raises:
        MigrationError: a contract change would lose data, others' views are in its way, or an applied file
            was changed: lists every such problem, after all else was done.
        GoldError: the server is too old, or the login lacks a right.
        ServiceUnavailable: Postgres does not answer.
    """
    with gold_connection(dsn) as connection:
        version = connection.info.server_version // 10000
        if version < MINIMUM_VERSION:
            raise GoldError(f"Postgres is version {version}, but {MINIMUM_VERSION} or later is needed")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [_LOCK_TIMEOUT])
        ensure_roles(connection)
        own = [MIGRATIONS, *tables_of(scripts()), *own_relations(dataset)]
        take_over(connection, own)
        act_as_writer(connection)
        done, refused = list[str](), list[str]()
        try:
            done += apply_scripts(connection)
        except MigrationError as error:  # tables stay as they are; what readers need of them does not wait
            refused += error.problems
            done += ensure_views(connection, views_of(dataset), (), refused)
        else:
            done += _apply_contracts(connection, dataset, refused)
        pii = [table.name for table in dataset.gold.values() if has_pii(table)]
        rest = [*(name for name in dataset.gold if name not in pii), *(one.name for one in views_of(dataset))]
        there = relations(connection)  # without what could not be made
        grant_reading(
            connection,
            without_pii=[name for name in rest if name in there],
            with_pii=[name for name in (*pii, "publications") if name in there],
        )
    for line in done:
        log.info("migration: %s", line)
    if refused:
        raise MigrationError("gold cannot be made what the contracts say", refused)
    return tuple(done)


def ensure_migrated(dsn: Secret, datasets: Iterable[Dataset]) -> bool:
    """Bring the database forward if it has not had every script; gives whether it had to be.

    For those who come before the first hour of gold, on a new platform or with new code.

    Args:
        dsn: of gold, as the writer.
        datasets: whose tables are made, too.

    Raises:
        MigrationError: see `migrate`.
        GoldError: see `migrate`.
        ServiceUnavailable: Postgres does not answer.
    """
    with gold_connection(dsn) as connection:
        had = recorded(connection) if has_relation(connection, MIGRATIONS) else {}
    if all(script.name in had for script in scripts()):
        return False
    for dataset in datasets:
        migrate(dsn, dataset)
    return True


def _apply_contracts(connection: psycopg.Connection, dataset: Dataset, refused: list[str]) -> Iterator[str]:
    """Do what can be done, and add to `refused` what cannot; yields a line for each thing done."""
    changes = plan_schema_changes(connection, dataset)
    refused += changes.problems
    for note in changes.notes:
        log.info("migration: %s", note)
    views, retyping = views_of(dataset), list(changes.retyping.values())
    try:
        # A view pins the type of what it shows: it makes way, and comes back in the same transaction.
        dropped = make_way(connection, views, changes.retyping)
    except MigrationError as error:  # before anything was dropped
        refused += error.problems
        dropped, retyping = [], []
    for statement in [*retyping, *changes.statements]:
        connection.execute(statement.encode())
        if not statement.startswith(("SELECT", "UPDATE")):
            yield statement.splitlines()[0].rstrip(" (")
    yield from ensure_views(connection, views, dropped, refused)
