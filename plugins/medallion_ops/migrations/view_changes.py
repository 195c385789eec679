"""Makes the views of gold what the contracts say, beside the views and grants of others.

A view is replaced in place where its columns stay and new ones come last: what others granted or built on it
remains. Only where that cannot be (a column goes, or has another type) it is dropped and made again, with the
grants, options and comment it had; a view of somebody else that shows it is never dropped, but named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medallion_contracts.compile.postgres import GOLD, quoted
from medallion_contracts.errors import MigrationError
from medallion_ops.migrations.scripts import record, recorded
from medallion_ops.migrations.views import View

if TYPE_CHECKING:
    import psycopg


_SHOWN = (
    "SELECT DISTINCT v.relname, v.oid::regclass::text, r.rolname FROM pg_depend d "
    "JOIN pg_rewrite w ON w.oid = d.objid JOIN pg_class v ON v.oid = w.ev_class "
    "JOIN pg_roles r ON r.oid = v.relowner "
    "LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
    "WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass "
    "AND v.oid <> d.refobjid "
)
"""Views and materialized views with the relations that they show: name, name with schema, owner."""


@dataclass(frozen=True)
class KeptView:
    """What others gave a view that was dropped: statements that give it back."""

    view: View
    statements: tuple[str, ...]


def drop_views(
    connection: psycopg.Connection, views: Sequence[View], affected: Collection[str]
) -> list[KeptView]:
    """Drop views, and ours that show them, to make way for a change; gives what they carried.

    Args:
        connection: The connection of the migration's transaction.
        views: All views of ours.
        affected: Names of those that are in the way.

    Raises:
        MigrationError: Views of others show them; names each with its owner. Nothing was changed.
    """
    own = [view.name for view in views]
    shown = _SHOWN + "AND v.relname = ANY(%(own)s) AND d.refobjid = to_regclass(%(relation)s)"
    in_the_way = set(affected)
    for view in views:  # those that show others come after them
        relation = {"own": own, "relation": quoted(GOLD, view.name), "gold": GOLD}
        if view.name in in_the_way:
            in_the_way |= {name for name, *_ in connection.execute(shown, relation)}
    there = [view for view in views if view.name in in_the_way and _oid(connection, view) is not None]
    strangers = [problem for view in there for problem in _views_on(connection, quoted(GOLD, view.name), own)]
    if strangers:
        raise MigrationError("views of others are in the way of a change of gold", strangers)
    kept = [KeptView(view, tuple(_carried(connection, view))) for view in there]
    for view in reversed(there):
        connection.execute(f"DROP VIEW {quoted(GOLD, view.name)}")
    return kept


def ensure_views(
    connection: psycopg.Connection,
    views: Sequence[View],
    dropped: Iterable[KeptView],
    refused: list[str],
) -> Iterator[str]:
    """Create the views that are missing, replace those that differ; yields a line for each.

    Args:
        connection: The connection of the migration's transaction.
        views: All views of ours.
        dropped: Those of them that made way, which must come back.
        refused: Gets what is wrong with a view that cannot be made; the others are made all the same.
    """
    import psycopg

    carried = {one.view.name: one.statements for one in dropped}
    made_way = set(carried)
    for view in views:
        done: str | None = None
        try:
            with connection.transaction():
                done = _ensured(connection, views, view, carried)
        except MigrationError as error:
            refused += error.problems
        except psycopg.errors.ProgrammingError as error:
            # Where it made way for a change, everything stays as it was.
            if view.name in made_way or not refused:
                raise
            refused.append(f"view gold.{view.name} cannot be made yet: {error.diag.message_primary}")
        if done:
            yield done


def _ensured(
    connection: psycopg.Connection,
    views: Sequence[View],
    view: View,
    carried: dict[str, tuple[str, ...]],
) -> str | None:
    """Make one view what its contract says, unless it is; `carried` is what views had that were dropped."""
    is_there = _oid(connection, view) is not None
    if is_there and recorded(connection).get(f"view {view.name}") == _fingerprint(connection, view):
        return None
    if is_there and not _replaced(connection, view):
        carried |= {one.view.name: one.statements for one in drop_views(connection, views, [view.name])}
        is_there = False
    if not is_there:
        connection.execute(f"CREATE VIEW {quoted(GOLD, view.name)} AS\n{view.definition()}".encode())
        for statement in carried.get(view.name, ()):
            connection.execute(statement.encode())
    record(connection, f"view {view.name}", _fingerprint(connection, view))
    return f"{'CREATE OR REPLACE' if is_there else 'CREATE'} VIEW {quoted(GOLD, view.name)}"


def make_way(
    connection: psycopg.Connection, views: Sequence[View], retyped: Iterable[tuple[str, str]]
) -> list[KeptView]:
    """Drop our views that show columns of gold which get another type; gives what they carried.

    Raises:
        MigrationError: Views of others show such a column, or a view of ours that must go.
    """
    own = [view.name for view in views]
    affected: set[str] = set()
    strangers: list[str] = []
    for table, column in retyped:
        relation = quoted(GOLD, table)
        strangers += _views_on(connection, relation, own, column)
        rows = connection.execute(
            _SHOWN + "AND v.relname = ANY(%(own)s) AND d.refobjid = to_regclass(%(relation)s) "
            "AND a.attname = %(column)s AND v.relnamespace = to_regnamespace(%(gold)s)",
            {"own": own, "relation": relation, "column": column, "gold": GOLD},
        )
        affected |= {name for name, *_ in rows}
    if strangers:
        raise MigrationError("views of others are in the way of a change of gold", strangers)
    return drop_views(connection, views, affected)


def _replaced(connection: psycopg.Connection, view: View) -> bool:
    """Replace a view in place; false when its columns do not allow it."""
    import psycopg

    stored = [
        name
        for (name,) in connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 ORDER BY attnum",
            [_oid(connection, view)],
        )
    ]
    statement = f"CREATE OR REPLACE VIEW {quoted(GOLD, view.name)} AS\n{view.definition(stored)}"
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.errors.InvalidTableDefinition:
        return False
    return True


def _oid(connection: psycopg.Connection, view: View) -> int | None:
    row = connection.execute(
        "SELECT oid FROM pg_class WHERE oid = to_regclass(%s) AND relkind = 'v'", [quoted(GOLD, view.name)]
    ).fetchone()
    return row[0] if row else None


def _fingerprint(connection: psycopg.Connection, view: View) -> str:
    """Of what the contracts say and of what is stored: it changes when either does."""
    [(stored,)] = connection.execute("SELECT pg_get_viewdef(%s::oid)", [_oid(connection, view)]).fetchall()
    return hashlib.sha256(f"{view.definition()}\n{stored}".encode()).hexdigest()


def _views_on(
    connection: psycopg.Connection, relation: str, own: Iterable[str], column: str | None = None
) -> Iterator[str]:
    """Views and materialized views of others that show a relation, or one column of it, one line each."""
    rows = connection.execute(
        _SHOWN + "AND d.refobjid = to_regclass(%(relation)s) "
        "AND NOT (v.relnamespace = to_regnamespace(%(gold)s) AND v.relname = ANY(%(own)s)) "
        "AND (%(column)s::text IS NULL OR a.attname = %(column)s) ORDER BY 2",
        {"relation": relation, "gold": GOLD, "own": list(own), "column": column},
    )
    shows = f"{relation}.{quoted(column)}" if column else relation
    for _, name, owner in rows:
        yield (
            f"view {name} of {owner} shows {shows}, which has to change: "
            f"{owner} drops it, and makes it again after the migration"
        )


def _carried(connection: psycopg.Connection, view: View) -> Iterator[str]:
    """Grants of others, options and comment of a view, as statements."""
    from psycopg import sql

    oid, name = _oid(connection, view), sql.Identifier(GOLD, view.name)
    grants = connection.execute(
        "SELECT g.privilege_type, NULL, r.rolname, g.is_grantable FROM pg_class c "
        "CROSS JOIN LATERAL aclexplode(c.relacl) AS g LEFT JOIN pg_roles r ON r.oid = g.grantee "
        "WHERE c.oid = %(oid)s AND g.grantee <> c.relowner UNION ALL "
        "SELECT g.privilege_type, a.attname, r.rolname, g.is_grantable FROM pg_attribute a "
        "CROSS JOIN LATERAL aclexplode(a.attacl) AS g LEFT JOIN pg_roles r ON r.oid = g.grantee "
        "WHERE a.attrelid = %(oid)s AND (%(shown)s::text[] IS NULL OR a.attname = ANY(%(shown)s))",
        {"oid": oid, "shown": list(view.shown) or None},
    ).fetchall()
    for privilege, column, grantee, is_grantable in grants:
        yield (
            sql.SQL("GRANT {}{} ON {} TO {}{}")
            .format(
                sql.SQL(privilege),
                sql.SQL(" ({})").format(sql.Identifier(column)) if column else sql.SQL(""),
                name,
                sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC"),
                sql.SQL(" WITH GRANT OPTION") if is_grantable else sql.SQL(""),
            )
            .as_string(connection)
        )
    [(options, comment)] = connection.execute(
        "SELECT reloptions, obj_description(oid, 'pg_class') FROM pg_class WHERE oid = %s", [oid]
    ).fetchall()
    if options:
        yield (
            sql.SQL("ALTER VIEW {} SET ({})").format(name, sql.SQL(", ".join(options))).as_string(connection)
        )
    if comment:
        yield sql.SQL("COMMENT ON VIEW {} IS {}").format(name, comment).as_string(connection)
