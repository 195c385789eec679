"""The connection to gold for Airflow's tasks and Spark's processes, and what its errors mean to operators.

Nothing that gold holds may depend on how a company set up its database, role or pooler. So each connection
pins what the bytes depend on, the limits, and the kind of its transactions; the address is parsed by libpq
alone. Behind a pooler in transaction mode a session is not ours: the settings that poolers keep for a client
(encoding, time zone, dates) are set for the session, the others for each transaction; statements are not
prepared, and locks are held by transactions only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medallion_contracts.errors import GoldError, ServiceUnavailable
from medallion_store.postgres_address import ENCODING, SETTING, address, libpq_parameters
from medallion_store.secret import Secret

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

CONNECT_SECONDS = 10
IDLE_TRANSACTION_SECONDS = 300
"""A process that hangs within a transaction loses it, and its locks, after this time."""

KEPT_BY_POOLERS = {
    "client_encoding": ENCODING,
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "standard_conforming_strings": "on",
}
"""What the bytes depend on; poolers in transaction mode keep these for each client."""
_BYTES = {
    "search_path": "pg_catalog",
    "bytea_output": "hex",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "array_nulls": "on",
}
_LIMITS = {
    "statement_timeout": "0",  # Airflow's limits end a task, and with it what it asked
    "lock_timeout": "5min",
    "idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_SECONDS}s",
    "idle_session_timeout": "0",  # the job's own connection waits while Spark computes
    "transaction_timeout": "0",
    # The server notices within two minutes that a client's machine is gone.
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_KIND = {
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
}
_SINCE_17 = {"transaction_timeout"}

_MIGRATE = "run `python -m medallion_ops.migrations` as the owner of gold"
_LOGIN = f"check user, password and database in {SETTING}"
_PRIMARY = (
    f"{SETTING} must name the primary: list all servers as host1,host2 with target_session_attrs=primary"
)
_REMEDIES = {
    "InvalidPassword": f"the login failed: {_LOGIN}",
    "InvalidAuthorizationSpecification": f"the login failed: {_LOGIN}",
    "InvalidCatalogName": f"the database does not exist: {_LOGIN}",
    "InsufficientPrivilege": f"a grant is missing: {_MIGRATE}",
    "UndefinedTable": f"a table is missing, or its staging set was cleaned up: {_MIGRATE}, then write again",
    "InvalidSchemaName": f"a schema is missing: {_MIGRATE}",
    "UndefinedColumn": f"a column is missing: {_MIGRATE}",
    "ReadOnlySqlTransaction": "it is read-only (a standby, short of space, or, behind a pooler, by a setting "
    f"of the role): {_PRIMARY}",
    "DiskFull": "its disk is full: free space, then run again",
    "LockNotAvailable": "another run holds the lock: it is publishing, or stuck",
    "QueryCanceled": "the statement was cancelled: by a person, or by a limit of the pooler or of the role",
    "IdleInTransactionSessionTimeout": f"this process did nothing for {IDLE_TRANSACTION_SECONDS} s within "
    "a transaction, so its locks were released: run again",
    "ProtocolViolation": "the pooler in front of it refused: it must be in session or transaction mode and "
    "let statements without names through",
}
# A refused login carries no SQLSTATE: libpq reports it as text only.
_REFUSED_LOGIN = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")
_WRONG_SERVER = ("session is read-only", "hot standby mode", "in recovery")


@contextmanager
def gold_connection(
    dsn: Secret,
    *,
    autocommit: bool = False,
    application: str = "medallion",
    connect_seconds: int | None = None,
) -> Iterator[psycopg.Connection]:
    """A connection to gold: one transaction, committed at the end of the block, rolled back by any exception.

    Args:
        dsn: The writer's login, as libpq takes it: a URI or key=value pairs, one host or several.
        autocommit: Each statement is a transaction of its own; behind a pooler in transaction mode the limits
            of the role are in force for it.
        application: How the database's activity names the connection.
        connect_seconds: How long to wait for the server, whatever the DSN says; None for the DSN's own limit,
            or CONNECT_SECONDS.

    Raises:
        SettingsError: The DSN cannot be parsed.
        ServiceUnavailable: Postgres does not answer, or the connection broke; nothing was committed
            (or, if it broke in the very commit, all of it: running again finds out).
        GoldError: Postgres refused a statement, is a standby or cannot hold UTF-8; nothing was committed.
    """
    import psycopg

    try:
        with connect(
            dsn, autocommit=autocommit, application=application, connect_seconds=connect_seconds
        ) as connection:
            yield connection
    except psycopg.Error as error:
        # Not chained: DETAIL quotes rows, and a task's traceback ends up in logs.
        raise explained(error, dsn) from None


def connect(
    dsn: Secret,
    *,
    autocommit: bool = False,
    application: str = "medallion",
    connect_seconds: int | None = None,
) -> psycopg.Connection:
    """An open connection with everything pinned, for clients that close it themselves.

    Behind a pooler, and without `autocommit`, it is in its first transaction already; later ones are without
    the limits.

    Raises:
        SettingsError: The DSN cannot be parsed.
        GoldError: The server is a standby, or the database's encoding cannot hold UTF-8.
        psycopg.Error: Anything else; see `explained`.
    """
    import psycopg

    parameters = libpq_parameters(dsn)
    if connect_seconds is not None:
        parameters["connect_timeout"] = connect_seconds
    if "," in f"{parameters.get('host', '')}{parameters.get('hostaddr', '')}":
        parameters.setdefault("target_session_attrs", "primary")
    connection = psycopg.connect(
        **{
            "connect_timeout": CONNECT_SECONDS,
            **parameters,
            "client_encoding": ENCODING,
            "application_name": application,
            # A dead server must not hold a task for the two hours that TCP would take to notice.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        },
        autocommit=True,
        prepare_threshold=None,  # a pooler in transaction mode has no prepared statements
    )
    try:
        _pin(connection, dsn, autocommit)
    except BaseException:
        connection.close()
        raise
    return connection


def _pin(connection: psycopg.Connection, dsn: Secret, autocommit: bool) -> None:
    """Refuse a server that cannot be published to, then set what the session and its transactions need."""
    import psycopg

    [pid, encoding, database, is_standby] = connection.execute(
        "SELECT pg_backend_pid(), getdatabaseencoding(), current_database(), pg_is_in_recovery()"
    ).fetchall()[0]
    where = f"Postgres at {address(dsn)}"
    if encoding != ENCODING:
        raise GoldError(
            f"{where}: database {database} has the encoding {encoding}, which cannot hold every name: "
            "make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, and move gold there"
        )
    if is_standby:
        raise GoldError(f"{where} is a standby: {_PRIMARY}")
    # Behind a pooler another process answers than the one that said hello.
    is_pooled = pid != connection.info.backend_pid
    of_session = KEPT_BY_POOLERS if is_pooled else {**KEPT_BY_POOLERS, **_BYTES, **_LIMITS, **_KIND}
    connection.execute(*_set(of_session, connection, local=False))
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.read_only = False
    connection.deferrable = False
    connection.autocommit = autocommit
    if is_pooled and not autocommit:
        connection.execute(*_set({**_BYTES, **_LIMITS}, connection, local=True))


def _set(
    settings: Mapping[str, str], connection: psycopg.Connection, *, local: bool
) -> tuple[sql.Composed, list[str]]:
    from psycopg import sql

    since_17 = connection.info.server_version >= 170_000
    known = {name: value for name, value in settings.items() if since_17 or name not in _SINCE_17}
    calls = [sql.SQL("set_config({}, %s, {})").format(name, local) for name in known]
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(calls)), list(known.values())


def explained(error: psycopg.Error, dsn: Secret) -> GoldError | ServiceUnavailable:
    """The error in our words; of Postgres' own only the primary message, as DETAIL and CONTEXT quote rows."""
    import psycopg

    where, kind = f"Postgres at {address(dsn)}", type(error).__name__
    if kind in _REMEDIES:
        return GoldError(f"{where} refused: {_REMEDIES[kind]} ({kind})")
    if isinstance(error, psycopg.OperationalError):
        text = str(error)
        if any(known in text for known in _WRONG_SERVER):
            return GoldError(f"{where} is a standby, or read-only: {_PRIMARY}")
        if any(known in text for known in _REFUSED_LOGIN):
            return ServiceUnavailable(f"{where} refused the login: {_LOGIN}")
        return ServiceUnavailable(f"{where} does not answer: check that it runs, and {SETTING} ({kind})")
    return GoldError(f"{where} refused: {error.diag.message_primary or kind} ({kind})")


def has_relation(connection: psycopg.Connection, name: str) -> bool:
    """Whether a table, view or sequence is there.

    Args:
        connection: to gold.
        name: with its schema, quoted where it needs to be.
    """
    [(is_there,)] = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchall()
    return bool(is_there)


def ask_value(parameters: Mapping[str, str], query: str) -> str | None:
    """The one value of a query in somebody else's database, as text; it is asked read-only, for a minute.

    Args:
        parameters: Keywords of libpq, the login among them.
        query: A query with one value.

    Raises:
        psycopg.Error: The database does not answer, or refuses.
    """
    import psycopg

    given = {"connect_timeout": "10", **parameters, "client_encoding": ENCODING}
    with psycopg.connect(prepare_threshold=None, **given) as connection:  # type: ignore[arg-type]
        connection.read_only = True
        connection.execute(*_set(_ASKED, connection, local=True))
        row = connection.execute(query.encode()).fetchone()
    return str(row[0]) if row else None


_ASKED = {**KEPT_BY_POOLERS, **_BYTES, "statement_timeout": "60s"}
del _ASKED["search_path"]  # its owner chose which schema a plain name means
