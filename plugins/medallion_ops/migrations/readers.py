"""Whether readers can read gold: its tables and views are there, and the readers' roles may read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medallion_contracts.compile.postgres import GOLD, quoted
from medallion_contracts.model import Dataset
from medallion_ops.migrations.roles import PII_READER, READER, relations
from medallion_ops.migrations.scripts import MIGRATIONS, recorded
from medallion_ops.migrations.views import has_pii, views_of
from medallion_store.postgres import has_relation

if TYPE_CHECKING:
    import psycopg


def unreadable(connection: psycopg.Connection, dataset: Dataset) -> list[str]:
    """What keeps readers from a dataset's published gold, one line each.

    What the contracts declare and no migration has made yet is not missed: the next one makes it.

    Args:
        connection: to gold, as the writer.
        dataset: its contracts.
    """
    roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
    readers = [role for role in (READER, PII_READER) if role in roles]
    known = recorded(connection) if has_relation(connection, MIGRATIONS) else {}
    views = [view.name for view in views_of(dataset)]
    missed = {view for view in views if f"view {view}" in known} | _published(connection, dataset)
    there = relations(connection)
    open_to_all = {*views, *(name for name, table in dataset.gold.items() if not has_pii(table))}
    may_read = [
        (role, name)
        for role in readers
        for name in sorted(there & {*views, *dataset.gold})
        if name in open_to_all or role == PII_READER
    ]
    return [
        *(f"role {role} is gone" for role in (READER, PII_READER) if role not in roles),
        *(f"{'view' if name in views else 'table'} {GOLD}.{name} is gone" for name in sorted(missed - there)),
        *_without_usage(connection, readers),
        *(
            f"{role} may not read {GOLD}.{name}"
            for role, name in may_read
            if not _may(connection, "has_table_privilege(%s, %s, 'SELECT')", role, quoted(GOLD, name))
        ),
    ]


def _without_usage(connection: psycopg.Connection, readers: list[str]) -> Iterator[str]:
    for role in readers:
        if not _may(connection, "has_schema_privilege(%s, to_regnamespace(%s), 'USAGE')", role, GOLD):
            yield f"{role} may not use schema {GOLD}"


def _published(connection: psycopg.Connection, dataset: Dataset) -> set[str]:
    """Tables that a publication has filled."""
    if not has_relation(connection, "gold.publications"):
        return set()
    rows = connection.execute(
        "SELECT DISTINCT jsonb_object_keys(rows) FROM (SELECT rows FROM gold.publications "
        "WHERE dataset = %s ORDER BY publication_id DESC LIMIT 1) AS newest",
        [dataset.name],
    )
    return {str(name) for (name,) in rows} & set(dataset.gold)


def _may(connection: psycopg.Connection, question: str, *values: str) -> bool:
    [(answer,)] = connection.execute(f"SELECT {question}".encode(), values).fetchall()
    return bool(answer)
