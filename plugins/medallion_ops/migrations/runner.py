"""Applies what the database lacks, in one transaction; doing it again, or twice at once, changes nothing."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from medallion_contracts.compile.postgres import GOLD, quoted
from medallion_contracts.errors import GoldError, MigrationError
from medallion_contracts.model import Dataset
from medallion_ops.migrations.contract_tables import bring_forward
from medallion_ops.migrations.roles import ensure_roles, grant_reading
from medallion_ops.migrations.views import View, has_pii, views_of
from medallion_store.postgres import gold_connection
from medallion_store.secret import Secret

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)
MINIMUM_VERSION = 14
_LOCK = 4_151_001  # advisory lock of migrations; any number that nothing else here uses
_LOCK_TIMEOUT = "60s"


@dataclass(frozen=True)
class _Script:
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrate(dsn: Secret, dataset: Dataset) -> tuple[str, ...]:
    """Bring the database forward for a dataset; returns a line for each thing done, none when all was there.

    Crash points: it is one transaction, so a database is either as before or as after. A second run at the
    same time waits for the first and then finds nothing to do. ALTER TABLE waits for readers at most a
    minute, so that a long query cannot queue everybody else behind it; the next run tries again.

    Raises:
        MigrationError: a contract change would lose data, or an applied file was changed.
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
        done = [*_apply_scripts(connection), *_apply_contracts(connection, dataset)]
        pii = [table.name for table in dataset.gold.values() if has_pii(table)]
        rest = [name for name in dataset.gold if name not in pii]
        grant_reading(
            connection,
            without_pii=[*rest, *(view.name for view in views_of(dataset))],
            with_pii=[*pii, "publications"],
        )
    for line in done:
        log.info("migration: %s", line)
    return tuple(done)


def _apply_scripts(connection: psycopg.Connection) -> Iterator[str]:
    connection.execute("CREATE SCHEMA IF NOT EXISTS audit")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS audit.migrations (name text PRIMARY KEY, checksum text NOT NULL, "
        "applied_at timestamp with time zone NOT NULL DEFAULT clock_timestamp())"
    )
    applied = _recorded(connection)
    scripts = _scripts()
    changed = [
        f"{script.name} was changed after it was applied: put the change into a new file"
        for script in scripts
        if applied.get(script.name, script.checksum) != script.checksum
    ]
    if changed:
        raise MigrationError("the migrations are not those this database has had", changed)
    for script in scripts:
        if script.name not in applied:
            connection.execute(script.text.encode())
            _record(connection, script.name, script.checksum)
            yield f"applied {script.name}"


def _apply_contracts(connection: psycopg.Connection, dataset: Dataset) -> Iterator[str]:
    changes = bring_forward(connection, dataset)
    for note in changes.notes:
        log.info("migration: %s", note)
    recorded = _recorded(connection)
    views = views_of(dataset)
    stale = changes.statements or any(recorded.get(_record_name(view)) != view.checksum for view in views)
    if not stale:
        return
    # A view pins the columns it shows: it makes way for any change, and comes back in the same transaction.
    for view in views:
        connection.execute(f"DROP VIEW IF EXISTS {quoted(GOLD, view.name)}")
    for statement in changes.statements:
        connection.execute(statement.encode())
        yield statement.splitlines()[0].rstrip(" (")
    for view in views:
        connection.execute(view.statement.encode())
        _record(connection, _record_name(view), view.checksum)
        yield f"CREATE VIEW {quoted(GOLD, view.name)}"


def _scripts() -> list[_Script]:
    folder = resources.files("medallion_ops.migrations").joinpath("versions")
    files = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name
    )
    return [_Script(entry.name.removesuffix(".sql"), entry.read_text()) for entry in files]


def _record_name(view: View) -> str:
    return f"view {view.name}"


def _recorded(connection: psycopg.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT name, checksum FROM audit.migrations").fetchall()
    return {str(name): str(checksum) for name, checksum in rows}


def _record(connection: psycopg.Connection, name: str, checksum: str) -> None:
    connection.execute(
        "INSERT INTO audit.migrations (name, checksum) VALUES (%s, %s) "
        "ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp()",
        [name, checksum],
    )
