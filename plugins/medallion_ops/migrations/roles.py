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
    """Create the roles that are missing.

    Raises:
        GoldError: The login may not create them; says what to run.
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


def take_over(connection: psycopg.Connection, relations: Iterable[str]) -> None:
    """Give the writer what is ours and has another owner, as after a dump restored without owners.

    Args:
        connection: As the login itself, not yet as the writer.
        relations: Tables and views of ours, as schema.name.

    Raises:
        GoldError: The login may not; says what to run.
    """
    from psycopg import sql

    rows = connection.execute(
        "SELECT n.nspname, c.relname, CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, r.rolname, "
        "pg_has_role(current_user, r.oid, 'MEMBER') AND pg_has_role(current_user, %(writer)s, 'MEMBER') "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner "
        "WHERE r.rolname <> %(writer)s AND (n.nspname || '.' || c.relname = ANY(%(ours)s) "
        "OR (n.nspname = 'staging' AND c.relkind = 'r' AND c.relname ~ '^s[0-9]+_')) "
        "UNION ALL SELECT n.nspname, NULL, 'SCHEMA', r.rolname, "
        "pg_has_role(current_user, r.oid, 'MEMBER') AND pg_has_role(current_user, %(writer)s, 'MEMBER') "
        "FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner "
        "WHERE r.rolname <> %(writer)s AND n.nspname IN ('gold', 'staging', 'audit') ORDER BY 2 NULLS FIRST",
        {"writer": WRITER, "ours": list(relations)},
    ).fetchall()
    statements = [
        sql.SQL("ALTER {} {} OWNER TO {}")
        .format(
            sql.SQL(kind),
            sql.Identifier(schema, name) if name else sql.Identifier(schema),
            sql.Identifier(WRITER),
        )
        .as_string(connection)
        for schema, name, kind, _, _ in rows
    ]
    if not all(may for *_, may in rows):
        owners = ", ".join(sorted({owner for *_, owner, may in rows if not may}))
        raise GoldError(
            f"{owners} owns what {WRITER} must own; run as an administrator: {'; '.join(statements)}"
        )
    for statement in statements:
        connection.execute(statement.encode())


def act_as_writer(connection: psycopg.Connection) -> None:
    """Go on as the writer, so that it owns what is created next.

    Raises:
        GoldError: The login may not; says what to run.
    """
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


def relations(connection: psycopg.Connection) -> set[str]:
    """Names of the tables and views that gold has."""
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) "
        "AND relkind IN ('r', 'p', 'v')",
        [GOLD],
    )
    return {str(name) for (name,) in rows}


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
