"""What the nightly maintenance asks of Postgres: the published version, and dropping staging tables."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from medallion_ops.gate.verdict import forget_old_verdicts
from medallion_ops.gold_database import gold_connection
from medallion_ops.manifest import last_publication
from medallion_ops.settings import GoldSettings

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

_TABLES = """
SELECT m.set_id, c.relname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'staging'
JOIN staging.manifests m ON c.relname LIKE 's' || m.set_id || '\\_%%'
WHERE c.relkind = 'r' AND m.dataset = %s AND m.set_id <= %s
ORDER BY m.set_id
"""


def published_silver_version(dataset: str, gold: GoldSettings) -> int | None:
    """The version of silver that gold was last published from; None before the first publication."""
    with gold_connection(gold.dsn) as connection:
        published = last_publication(connection, dataset)
    return None if published is None else published.to_version


def drop_published_sets(dataset: str, gold: GoldSettings) -> list[int]:
    """Drop the staging tables of sets up to the last published one; gives the ids of those dropped.

    Their rows are in gold, or another set's took their place. A newer set may be waiting for a person's
    decision and stays. A table that somebody reads is left to the next day.
    """
    with gold_connection(gold.dsn) as connection:
        published = last_publication(connection, dataset)
        if published is None:
            return []
        forgotten = forget_old_verdicts(connection, dataset, published.set_id)
        log.info("%s findings of the gate on old sets forgotten", f"{forgotten:,}")
        tables: dict[int, list[str]] = defaultdict(list)
        for set_id, table in connection.execute(_TABLES, [dataset, published.set_id]):
            tables[set_id].append(table)
        return [set_id for set_id, names in tables.items() if _drop(connection, set_id, names)]


def _drop(connection: psycopg.Connection, set_id: int, names: list[str]) -> bool:
    import psycopg
    from psycopg import sql

    try:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '2s'")
            for name in names:
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier("staging", name)))
            connection.execute("DELETE FROM staging.copies WHERE set_id = %s", [set_id])
    except psycopg.errors.LockNotAvailable:
        log.info("staging set %s is in use: left to the next run", set_id)
        return False
    return True
