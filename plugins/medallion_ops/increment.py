"""Asks whether gold has anything to do, from Delta's log and Postgres alone: no JVM, no Spark submission."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medallion_contracts.compile_postgres import AUDIT, quoted
from medallion_contracts.delta_log import silver_state, source_marker
from medallion_contracts.increment import (
    PUBLISHED_QUERY,
    Kind,
    LabelSnapshot,
    Plan,
    Published,
    gold_contract_hash,
    plan,
)
from medallion_contracts.lake import LakePaths
from medallion_contracts.model import Dataset
from medallion_ops.gold_database import gold_connection
from medallion_ops.lake_files import delta_storage_options
from medallion_ops.settings import Settings

if TYPE_CHECKING:
    import psycopg


def next_write(settings: Settings, dataset: Dataset) -> Plan:
    """What the gold job would do now; kind `nothing` when it need not be submitted.

    Raises:
        ServiceUnavailable: the lake or Postgres does not answer.
        GoldError: Postgres refused a statement.
    """
    with gold_connection(settings.gold.dsn) as connection:
        published = _last_published(connection, dataset)
        excluded = _rejected_in_force(connection, dataset)
        labels = _labels(connection, dataset)
    storage = delta_storage_options(settings.lake)
    path = LakePaths(settings.lake.uri, dataset.name).silver
    silver = silver_state(path, storage, published.to_version if published else None)
    if silver is None:
        return Plan(Kind.NOTHING, None, -1, "silver does not exist yet")
    return plan(
        published,
        silver,
        gold_contract_hash(dataset),
        excluded=excluded,
        labels=labels,
        marker=source_marker(settings.gold.churn_source, storage),
    )


def _last_published(connection: psycopg.Connection, dataset: Dataset) -> Published | None:
    row = connection.execute(PUBLISHED_QUERY, [dataset.name]).fetchone()
    return Published.from_row(row) if row else None


def _rejected_in_force(connection: psycopg.Connection, dataset: Dataset) -> list[int]:
    table = quoted(AUDIT, "rejected_rows")
    query = f"SELECT rejection_id FROM {table} WHERE dataset = %s AND released_at IS NULL"
    rows = connection.execute(query, [dataset.name])
    return [row[0] for row in rows]


def _labels(connection: psycopg.Connection, dataset: Dataset) -> LabelSnapshot | None:
    row = connection.execute(
        "SELECT fingerprint, marker FROM gold.enrichment_snapshots WHERE dataset = %s", [dataset.name]
    ).fetchone()
    return LabelSnapshot(*row) if row else None
