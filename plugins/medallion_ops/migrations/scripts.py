"""The numbered SQL files, and what of them a database lacks: its catalogue says so, not our record of it.

A file is applied whole the first time. Later, and where its record was lost, only what is missing is made
again: a table, an index or column of ours that somebody dropped, or that a restored dump did not bring along.
Statements about rows are not repeated, as a table that was made again has none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from medallion_contracts.errors import MigrationError
from medallion_store.postgres import has_relation

if TYPE_CHECKING:
    import psycopg

MIGRATIONS = "audit.migrations"
"""Which files this database has had, and the fingerprints of its views."""
_TABLE = re.compile(r"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?([\w.]+)")
_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?(\w+ )?ON ([\w.]+)")
_ALTER = re.compile(r"ALTER TABLE ([\w.]+)")
_COMMENT = re.compile(r"COMMENT ON (?:TABLE|COLUMN) (\w+\.\w+)")
_ADDED = re.compile(r"ADD COLUMN (?:IF NOT EXISTS )?(\w+)")
_DROPPED = re.compile(r"DROP COLUMN (?:IF EXISTS )?(\w+)")
_ROWS = ("INSERT ", "UPDATE ", "DELETE ")


@dataclass(frozen=True)
class Script:
    """A numbered file; one that was applied is never changed again."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Changes with the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """Its statements without comments; each ends with a semicolon at the end of a line."""
        lines = [re.sub(r"\s*--.*", "", line) for line in self.text.splitlines()]
        text = "\n".join(line for line in lines if line.strip())
        return [one.strip() for one in re.split(r";\s*(?:\n|$)", text) if one.strip()]


def scripts() -> list[Script]:
    """All files by number; numbers need not be contiguous."""
    folder = resources.files("medallion_ops.migrations").joinpath("versions")
    files = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name
    )
    return [Script(entry.name.removesuffix(".sql"), entry.read_text()) for entry in files]


def tables_of(all_scripts: list[Script]) -> list[str]:
    """The tables that the files make, as schema.name."""
    return [
        found[1]
        for script in all_scripts
        for statement in script.statements
        if (found := _TABLE.match(statement))
    ]


def apply_scripts(connection: psycopg.Connection) -> Iterator[str]:
    """Apply the files that the database has not had, and mend what is missing of the others.

    Yields a line for each thing done.

    Raises:
        MigrationError: A file was changed after it was applied.
    """
    connection.execute("CREATE SCHEMA IF NOT EXISTS audit")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS audit.migrations (name text PRIMARY KEY, checksum text NOT NULL, "
        "applied_at timestamp with time zone NOT NULL DEFAULT clock_timestamp())"
    )
    applied, wanted = recorded(connection), scripts()
    changed = [
        f"{script.name} was changed after it was applied: put the change into a new file"
        for script in wanted
        if applied.get(script.name, script.checksum) != script.checksum
    ]
    if changed:
        raise MigrationError("the migrations are not those this database has had", changed)
    mender = _Mender(connection, wanted)
    for script in wanted:
        is_new = script.name not in applied
        for statement in script.statements:
            if mender.run(statement, with_rows=is_new) and not is_new:
                yield f"made again: {statement.splitlines()[0].rstrip(' (')}"
        if is_new:
            record(connection, script.name, script.checksum)
            yield f"applied {script.name}"
    if mender.made:
        _number_on(connection, mender.made)


class _Mender:
    """Runs the statements that the catalogue shows to be needed."""

    def __init__(self, connection: psycopg.Connection, wanted: list[Script]) -> None:
        self._connection = connection
        self.made: set[str] = set()
        """Tables that were made in this run."""
        self._dropped = {
            (table[1], column)
            for script in wanted
            for statement in script.statements
            if (table := _ALTER.match(statement))
            for column in _DROPPED.findall(statement)
        }

    def run(self, statement: str, *, with_rows: bool) -> bool:
        """Execute a statement if something of it is missing; true when it made something.

        Args:
            statement: One of a file's.
            with_rows: The file is applied the first time: also what concerns rows and stored columns.
        """
        if not self._makes_something(statement) and not self._changes_something(statement, with_rows):
            return False
        if table := _TABLE.match(statement):
            self.made.add(table[1])
        statement = re.sub("ADD COLUMN (?!IF)", "ADD COLUMN IF NOT EXISTS ", statement)
        statement = re.sub("DROP COLUMN (?!IF)", "DROP COLUMN IF EXISTS ", statement)
        self._connection.execute(statement.encode())
        return not statement.startswith(_ROWS)

    def _makes_something(self, statement: str) -> bool:
        """Whether it creates a schema, table or index that is missing."""
        if statement.startswith("CREATE SCHEMA IF NOT EXISTS "):
            return not self._has_schema(statement.split()[-1])
        if table := _TABLE.match(statement):
            return not has_relation(self._connection, table[1])
        if index := _INDEX.match(statement):
            name = f"{index[2].partition('.')[0]}.{(index[1] or '').strip()}"
            return index[2] in self.made or (bool(index[1]) and not has_relation(self._connection, name))
        return False

    def _changes_something(self, statement: str, with_rows: bool) -> bool:
        """Whether it changes a table that was made in this run, or adds a column that is missing."""
        if statement.startswith("CREATE "):
            return False
        altered, comment = _ALTER.match(statement), _COMMENT.match(statement)
        if altered and self._lacks_a_column(altered[1], statement):
            return True
        target = altered or comment
        return with_rows or (target is not None and target[1] in self.made)

    def _has_schema(self, name: str) -> bool:
        [(found,)] = self._connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", [name]).fetchall()
        return bool(found)

    def _lacks_a_column(self, table: str, statement: str) -> bool:
        rows = self._connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND NOT attisdropped", [table]
        )
        there = {name for (name,) in rows}
        return any(
            column not in there and (table, column) not in self._dropped
            for column in _ADDED.findall(statement)
        )


_HIGHEST = {
    "staging.manifests": (
        "set_id",
        """SELECT max(set_id) FROM (
            SELECT set_id FROM gold.publications UNION ALL SELECT set_id FROM audit.gate_results
            UNION ALL SELECT set_id FROM audit.decisions UNION ALL SELECT set_id FROM audit.gate_episodes
            UNION ALL SELECT substring(relname FROM '^s([0-9]{1,18})_')::bigint FROM pg_class
            WHERE relnamespace = 'staging'::regnamespace) AS known""",
    ),
    "gold.publications": (
        "publication_id",
        """SELECT max(publication_id) FROM (
            SELECT base_publication_id AS publication_id FROM staging.manifests
            UNION ALL SELECT base_publication_id FROM audit.gate_episodes) AS known""",
    ),
}


def _number_on(connection: psycopg.Connection, made: set[str]) -> None:
    """Count on from the highest number in use: a set or publication must never bear an older one's number."""
    for table, (column, highest) in _HIGHEST.items():
        if table in made:
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence(%s, %s), known.max) FROM ({highest}) AS known "
                "WHERE known.max IS NOT NULL",
                [table, column],
            )


def recorded(connection: psycopg.Connection) -> dict[str, str]:
    """Checksum by name of what was applied."""
    rows = connection.execute("SELECT name, checksum FROM audit.migrations").fetchall()
    return {str(name): str(checksum) for name, checksum in rows}


def record(connection: psycopg.Connection, name: str, checksum: str) -> None:
    """Note that something was applied, in the caller's transaction."""
    connection.execute(
        "INSERT INTO audit.migrations (name, checksum) VALUES (%s, %s) "
        "ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp()",
        [name, checksum],
    )
