"""What was published last, which rows are kept out, and the manifest of a set that is complete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from medallion_contracts.compile.postgres import AUDIT, columns, quoted
from medallion_contracts.model import Dataset
from medallion_store.code_version import code_version
from medallion_store.refresh_plan import PUBLISHED_QUERY, Plan, Published


def last_published(connected: psycopg.Connection, dataset: Dataset) -> Published | None:
    """The last publication of a dataset, with the inputs its set was made of."""
    row = connected.execute(PUBLISHED_QUERY, [dataset.name]).fetchone()
    return Published.from_row(row) if row else None


@dataclass(frozen=True)
class RejectedRow:
    """A version that a person kept out of gold, or let in again."""

    rejection_id: int
    key: str
    event_time: datetime
    in_force: bool


def rejected_rows(connected: psycopg.Connection, dataset: Dataset) -> list[RejectedRow]:
    """All rejected rows of a dataset, released or not."""
    wanted = columns(["rejection_id", dataset.key, dataset.event_time])
    rows = connected.execute(
        f"SELECT {wanted}, released_at IS NULL FROM {quoted(AUDIT, 'rejected_rows')} "
        "WHERE dataset = %s ORDER BY rejection_id".encode(),
        [dataset.name],
    )
    return [RejectedRow(*row) for row in rows]


def write_manifest(
    connected: psycopg.Connection,
    dataset: Dataset,
    *,
    set_id: int,
    run_id: str,
    plan: Plan,
    silver_table_id: str,
    base: Published | None,
    tables: dict[str, dict[str, object]],
    contract_hash: str,
    excluded: list[int],
    enrichment: dict[str, Any] | None,
) -> None:
    """Declare a set complete. It is one statement: a set has its manifest or it does not count."""
    connected.execute(
        "INSERT INTO staging.manifests (set_id, dataset, run_id, kind, silver_table_id, from_version, "
        "to_version, base_publication_id, tables, contract_hash, excluded_rows, enrichment, "
        "code_version) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            set_id,
            dataset.name,
            run_id,
            plan.kind.value,
            silver_table_id,
            plan.from_version,
            plan.to_version,
            base.publication_id if base else None,
            Jsonb(tables),
            contract_hash,
            Jsonb(excluded),
            Jsonb(enrichment) if enrichment else None,
            code_version("medallion_contracts", "medallion_store", "medallion_spark"),
        ],
    )
