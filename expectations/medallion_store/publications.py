"""The publications of gold: what was published, when, from which set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from medallion_store.manifests import Manifest
from medallion_store.refresh_plan import Published

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class Publication:
    """One publication of gold. `rows` counts inserted, updated, deleted, unchanged for each table."""

    publication_id: int
    set_id: int
    silver_table_id: str
    to_version: int
    rows: Mapping[str, Mapping[str, int]]
    decision: str
    decided_by: str | None
    published_at: datetime


_PUBLICATION = (
    "SELECT publication_id, set_id, silver_table_id, to_version, rows, decision, decided_by, "
    "published_at "
    "FROM gold.publications "
)


def last_publication(connection: psycopg.Connection, dataset: str) -> Publication | None:
    """The newest publication of a dataset."""
    query = _PUBLICATION + "WHERE dataset = %s ORDER BY publication_id DESC LIMIT 1"
    row = connection.execute(query, [dataset]).fetchone()
    return Publication(*row) if row else None


def publication_of_set(connection: psycopg.Connection, set_id: int) -> Publication | None:
    """The publication of a set, None while it is not published."""
    row = connection.execute(_PUBLICATION + "WHERE set_id = %s", [set_id]).fetchone()
    return Publication(*row) if row else None


def set_of_publication(connection: psycopg.Connection, publication_id: int) -> int | None:
    """The set that a publication published, None when there is no such publication."""
    query = "SELECT set_id FROM gold.publications WHERE publication_id = %s"
    row = connection.execute(query, [publication_id]).fetchone()
    return int(row[0]) if row else None


def last_published(connection: psycopg.Connection, dataset: str) -> Published | None:
    """The last publication of a dataset, with the inputs its set was made of."""
    row = connection.execute(
        "SELECT p.publication_id, p.silver_table_id, p.to_version, coalesce(m.contract_hash, ''), "
        "coalesce(e.excluded_rows, '[]'), m.enrichment->>'fingerprint', "
        "CASE WHEN m.set_id IS NULL THEN 'the manifest of the last publication is gone' "
        "ELSE p.refresh_due END, m.silver_commit "
        "FROM gold.publications p LEFT JOIN staging.manifests m USING (set_id) "
        "LEFT JOIN staging.exclusions e ON e.exclusion_id = m.exclusion_id "
        "WHERE p.dataset = %s ORDER BY p.publication_id DESC LIMIT 1",
        [dataset],
    ).fetchone()
    if row is None:
        return None
    publication, table_id, version, contract_hash, excluded, labels, refresh_due, commit_id = row
    return Published(
        publication, table_id, version, contract_hash, frozenset(excluded), labels, refresh_due, commit_id
    )


def adopt_commit(connection: psycopg.Connection, publication_id: int, commit_id: str) -> None:
    """Keep the identity of the commit that a publication was made of, if it was published without one."""
    connection.execute(
        "UPDATE staging.manifests AS m SET silver_commit = %s FROM gold.publications AS p "
        "WHERE p.publication_id = %s AND m.set_id = p.set_id AND m.silver_commit IS NULL",
        [commit_id, publication_id],
    )


def lock_publication(connection: psycopg.Connection, dataset: str) -> None:
    """Wait until no one else changes gold of this dataset; held to the end of the transaction.

    Raises:
        psycopg.errors.LockNotAvailable: Somebody else kept it for five minutes.
    """
    connection.execute("SET LOCAL lock_timeout = '5min'")
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('medallion.publication.' || %s, 0))", [dataset]
    )


def record_publication(
    connection: psycopg.Connection,
    written: Manifest,
    *,
    rows: Mapping[str, Mapping[str, int]],
    suite_hash: str | None,
    code_version: str,
    decision: str,
    decided_by: str | None,
    decided_at: datetime | None,
) -> int:
    """Record that a set was published, in the caller's transaction; returns the publication's id.

    Args:
        connection: The connection of the transaction that changes gold.
        written: The set.
        rows: Inserted, updated, deleted and unchanged rows by gold table.
        suite_hash: The suite that judged the set.
        code_version: The code that wrote and the code that published it.
        decision: `passed`, or what a person decided.
        decided_by: Who, if a person decided.
        decided_at: When.
    """
    from psycopg.types.json import Jsonb

    [(publication_id,)] = connection.execute(
        "INSERT INTO gold.publications (dataset, run_id, set_id, kind, silver_table_id, from_version, "
        "to_version, rows, suite_hash, code_version, decision, decided_by, decided_at, written_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING publication_id",
        [
            written.dataset,
            written.run_id,
            written.set_id,
            written.kind,
            written.silver_table_id,
            written.from_version,
            written.to_version,
            Jsonb(rows),
            suite_hash,
            code_version,
            decision,
            decided_by,
            decided_at,
            written.created_at,
        ],
    ).fetchall()
    return int(publication_id)
