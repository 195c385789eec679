"""Connections to the gold database from the driver and from tasks, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from medallion_contracts.errors import GoldError, ServiceUnavailable
from medallion_spark.session.secrets import required_secret

SETTING = "MEDALLION_GOLD_DSN"


@contextmanager
def connection(*, autocommit: bool = False) -> Iterator[psycopg.Connection]:
    """A connection in UTC as the writer, committed at the end of the block, rolled back by any exception.

    The DSN is read from the secrets file of the process that connects: it is in no closure and no plan.

    Raises:
        ServiceUnavailable: the server does not answer, refuses the login, or broke the connection.
        GoldError: the server refused a statement.
    """
    dsn = required_secret(SETTING)
    try:
        with psycopg.connect(
            dsn,
            autocommit=autocommit,
            connect_timeout=30,
            application_name="medallion silver_to_gold",
            # What a statement returns or truncates to the hour must not depend on the server's settings.
            options="-c timezone=UTC -c datestyle=ISO",
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        ) as connected:
            yield connected
    except psycopg.Error as error:
        # Not chained: the server's DETAIL and CONTEXT quote rows, and a task's traceback ends up in logs.
        raise explained(error, dsn) from None


def explained(error: psycopg.Error, dsn: str) -> GoldError | ServiceUnavailable:
    """The error with the server's address. Only its first line: DETAIL and CONTEXT may quote rows."""
    parts = conninfo_to_dict(dsn)
    where = (
        f"Postgres at {parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
    )
    reason = error.diag.message_primary or (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, psycopg.errors.InsufficientPrivilege | psycopg.errors.UndefinedTable):
        return GoldError(f"{where}: {reason}; run `python -m medallion_ops.migrations`")
    if isinstance(error, psycopg.OperationalError) and not isinstance(error, psycopg.errors.DiskFull):
        return ServiceUnavailable(f"{where} does not answer or refuses the login: {reason}; check {SETTING}")
    return GoldError(f"{where} refused: {reason}")
