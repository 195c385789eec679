"""Postgres as the page reads it: briefly, read-only, and never waiting long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medallion_ops.gold_settings import GoldSettings
from medallion_store.postgres import gold_connection

if TYPE_CHECKING:
    import psycopg

CONNECT_SECONDS = 2
"""The least that libpq takes."""
STATEMENT_MILLISECONDS = 1_500


class Reading:
    """A short read-only transaction."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """The rows of a query, each by column name.

        Args:
            query: with %(name)s.
            values: by name.
        """
        from psycopg.rows import dict_row

        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query.encode(), values).fetchall()


@contextmanager
def reading() -> Iterator[Reading]:
    """Gold, to be read.

    Raises:
        SettingsError: MEDALLION_GOLD_DSN is missing or not valid.
        ServiceUnavailable: Postgres does not answer in time.
        GoldError: it refuses.
    """
    with _brief() as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        yield Reading(connection)


@contextmanager
def writing() -> Iterator[psycopg.Connection]:
    """Gold, for one small change; committed at the end of the block.

    Raises:
        SettingsError: MEDALLION_GOLD_DSN is missing or not valid.
        ServiceUnavailable: Postgres does not answer in time.
        GoldError: it refuses.
    """
    with _brief() as connection:
        yield connection


@contextmanager
def _brief() -> Iterator[psycopg.Connection]:
    dsn = GoldSettings.from_environment().dsn
    with gold_connection(dsn, application="medallion page", connect_seconds=CONNECT_SECONDS) as connection:
        for name in ("statement_timeout", "lock_timeout"):
            connection.execute("SELECT set_config(%s, %s, true)", [name, f"{STATEMENT_MILLISECONDS}ms"])
        yield connection
