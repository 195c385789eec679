"""The roles of the gold database and what each may do.

`medallion_writer` owns everything here. `gold_reader` reads what has no PII, `gold_pii_reader` reads all of
gold. They are group roles unless whoever set up the server gave them a login.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from medallion_contracts.compile.postgres import GOLD, quoted
from medallion_contracts.errors import GoldError

if TYPE_CHECKING:
    import psycopg

WRITER = "medallion_writer"
READER = "gold_reader"
PII_READER = "gold_pii_reader"


def ensure_roles(connection: psycopg.Connection) -> None:
    """Create the roles that are missing and go on as the writer, so that it owns what is created next.

    Raises:
        GoldError: the login may neither create the roles nor act as the writer; says what to run.
    """
    known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
    missing = [role for role in (WRITER, READER, PII_READER) if role not in known]
    may_create = connection.execute(
        "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    if missing and not (may_create and may_create[0]):
        statements = "; ".join(f"CREATE ROLE {role}" for role in missing)
        raise GoldError(
            f"roles are missing and the login may not create them; run as an administrator: {statements}"
        )
    for role in missing:
        # Roles belong to the server: another database of it may be migrated at the same time.
        connection.execute(
            f"DO $$ BEGIN CREATE ROLE {quoted(role)}; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    if WRITER in missing:
        connection.execute(f"GRANT {quoted(WRITER)} TO CURRENT_USER")
    _act_as_writer(connection)


def _act_as_writer(connection: psycopg.Connection) -> None:
    [(database, user, is_member, may_create, writer_may_create)] = connection.execute(
        "SELECT current_database(), current_user, pg_has_role(current_user, %(writer)s, 'MEMBER'), "
        "has_database_privilege(current_user, current_database(), 'CREATE'), "
        "has_database_privilege(%(writer)s, current_database(), 'CREATE')",
        {"writer": WRITER},
    ).fetchall()
    if not is_member:
        raise GoldError(
            f"{user} may not act as {WRITER}, which owns gold; run as an administrator: "
            f"GRANT {WRITER} TO {quoted(user)}"
        )
    if not writer_may_create:
        if not may_create:
            raise GoldError(
                f"{WRITER} may not create schemas in {database}; run as an administrator: "
                f"GRANT CREATE ON DATABASE {quoted(database)} TO {WRITER}"
            )
        connection.execute(f"GRANT CREATE ON DATABASE {quoted(database)} TO {quoted(WRITER)}")
    connection.execute(f"SET LOCAL ROLE {quoted(WRITER)}")


def grant_reading(
    connection: psycopg.Connection, *, without_pii: Iterable[str], with_pii: Iterable[str]
) -> None:
    """Let the readers read these tables and views of gold; staging and audit stay closed to them."""
    connection.execute(f"GRANT USAGE ON SCHEMA {quoted(GOLD)} TO {quoted(READER)}, {quoted(PII_READER)}")
    for name in without_pii:
        connection.execute(f"GRANT SELECT ON {quoted(GOLD, name)} TO {quoted(READER)}, {quoted(PII_READER)}")
    for name in with_pii:
        connection.execute(f"REVOKE ALL ON {quoted(GOLD, name)} FROM {quoted(READER)}")
        connection.execute(f"GRANT SELECT ON {quoted(GOLD, name)} TO {quoted(PII_READER)}")
