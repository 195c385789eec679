"""What a set of staging tables holds, for the joins with it and for its manifest."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from medallion_contracts.compile.postgres import (
    STAGING,
    Scope,
    columns,
    fingerprint_query,
    quoted,
    staging_name,
)
from medallion_contracts.errors import GoldError

LABELS = "_labels"
"""The table of a set that holds the enrichment source's labels while they are taken over."""


def add_key(connected: psycopg.Connection, set_id: int, scope: Scope) -> None:
    """Give a staged list its key: others are looked up by it."""
    table = quoted(STAGING, staging_name(set_id, scope.name))
    connected.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({columns(scope.column_names)})".encode())


def measure(
    connected: psycopg.Connection, set_id: int, copied: Mapping[str, int]
) -> dict[str, dict[str, object]]:
    """Rows and checksum of each staging table, for the manifest.

    Args:
        connected: a connection.
        set_id: the set.
        copied: rows by table as Spark counted them.

    Raises:
        GoldError: a table does not hold the rows that Spark copied.
    """
    measured: dict[str, dict[str, object]] = {}
    for name, rows in copied.items():
        table = staging_name(set_id, name)
        connected.execute(f"ANALYZE {quoted(STAGING, table)}".encode())
        [(stored, checksum)] = connected.execute(fingerprint_query(table).encode()).fetchall()
        if stored != rows:
            raise GoldError(
                f"staging.{table} holds {stored:,} rows, but Spark copied {rows:,}: Postgres was probably "
                "restarted while the set was written; run again"
            )
        measured[name] = {"rows": rows, "checksum": checksum}
    return measured
