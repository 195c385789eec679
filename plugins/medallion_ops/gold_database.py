"""The connection to gold, and what its errors mean to whoever runs the platform."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medallion_contracts.errors import GoldError, ServiceUnavailable
from medallion_ops.setting_fields import Secret

if TYPE_CHECKING:
    import psycopg

_MIGRATE = "run `python -m medallion_ops.migrations` as the owner of gold"
_LOGIN = "check user, password and database in MEDALLION_GOLD_DSN"
_REMEDIES = {
    "InvalidPassword": f"the login failed: {_LOGIN}",
    "InvalidAuthorizationSpecification": f"the login failed: {_LOGIN}",
    "InvalidCatalogName": f"the database does not exist: {_LOGIN}",
    "InsufficientPrivilege": f"a grant is missing: {_MIGRATE}",
    "UndefinedTable": f"a table is missing, or its staging set was cleaned up: {_MIGRATE}, then write again",
    "UndefinedColumn": f"a column is missing: {_MIGRATE}",
    "ReadOnlySqlTransaction": "it is read-only (a standby, or short of space): "
    "MEDALLION_GOLD_DSN must name the primary",
    "DiskFull": "its disk is full: free space, then run again",
    "LockNotAvailable": "another run holds the lock: it is publishing, or stuck",
    "QueryCanceled": "the statement took too long and was cancelled",
}
# A refused login carries no SQLSTATE: libpq reports it as text only.
_REFUSED_LOGIN = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")


@contextmanager
def gold_connection(dsn: Secret) -> Iterator[psycopg.Connection]:
    """One transaction on gold: committed at the end of the block, rolled back by any exception.

    Raises:
        ServiceUnavailable: Postgres does not answer, or the connection broke; nothing was committed
            (or, if it broke in the very commit, all of it: running again finds out).
        GoldError: Postgres refused a statement; nothing was committed.
    """
    import psycopg

    try:
        with psycopg.connect(
            dsn.reveal(),
            connect_timeout=10,
            application_name="medallion",
            # A dead peer must not hold the publication for the two hours that TCP would take to notice.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        ) as connection:
            yield connection
    except psycopg.Error as error:
        # Not chained: DETAIL quotes rows, and a task's traceback ends up in logs.
        raise _explained(error, dsn) from None


def _explained(error: psycopg.Error, dsn: Secret) -> GoldError | ServiceUnavailable:
    """The error in our words; of Postgres' own only the primary message, as DETAIL may hold row values."""
    import psycopg

    where, kind = f"Postgres at {address(dsn)}", type(error).__name__
    if kind in _REMEDIES:
        return GoldError(f"{where} refused: {_REMEDIES[kind]} ({kind})")
    if isinstance(error, psycopg.OperationalError):
        if any(text in str(error) for text in _REFUSED_LOGIN):
            return ServiceUnavailable(f"{where} refused the login: {_LOGIN}")
        return ServiceUnavailable(
            f"{where} does not answer: check that it runs, and MEDALLION_GOLD_DSN ({kind})"
        )
    return GoldError(f"{where} refused: {error.diag.message_primary or kind} ({kind})")


def address(dsn: Secret) -> str:
    """Host, port and database of a DSN, without the login."""
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(dsn.reveal())
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def lock_publication(connection: psycopg.Connection, dataset: str) -> None:
    """Wait until nobody else changes gold of this dataset; held to the end of the transaction.

    Raises:
        psycopg.errors.LockNotAvailable: Somebody else kept it for five minutes.
    """
    connection.execute("SET LOCAL lock_timeout = '5min'")
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('medallion.publication.' || %s, 0))", [dataset]
    )
