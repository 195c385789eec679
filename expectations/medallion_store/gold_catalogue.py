"""What gold keeps about itself: sets of candidates (manifests) and publications.

The only SQL that names these tables is here, for Airflow's side and for Spark's; see `rejected_rows` too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from medallion_contracts.errors import GoldError
from medallion_contracts.model import Dataset
from medallion_store.refresh_plan import Plan, Published

if TYPE_CHECKING:
    import psycopg


# --- manifests ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StagedTable:
    """What the manifest says of one staging table."""

    rows: int
    checksum: str


@dataclass(frozen=True)
class Manifest:
    """A complete set of staging tables: candidates for gold, computed against one publication.

    `from_version` is the silver version that publication reached (None before the first), `to_version` the
    one this set reaches, inclusive. `base_publication_id` is None before the first publication, `excluded`
    are the ids of the rejected rows that it leaves out.
    """

    set_id: int
    dataset: str
    run_id: str
    kind: str
    silver_table_id: str
    from_version: int | None
    to_version: int
    base_publication_id: int | None
    tables: Mapping[str, StagedTable]
    contract_hash: str
    created_at: datetime
    code_version: str
    excluded: frozenset[int] = frozenset()

    @property
    def is_rebuild(self) -> bool:
        """Whether the set decides about every row of gold, not only about those touched."""
        return self.kind == "rebuild"


_MANIFEST = (
    "SELECT set_id, dataset, run_id, kind, silver_table_id, from_version, to_version, base_publication_id, "
    "tables, contract_hash, created_at, coalesce(code_version, 'unknown'), "
    "coalesce(excluded_rows, '[]') FROM staging.manifests LEFT JOIN staging.exclusions USING (exclusion_id) "
)


def manifest(connection: psycopg.Connection, set_id: int) -> Manifest:
    """The manifest of a set.

    Raises:
        GoldError: There is no such set.
    """
    found = find_manifest(connection, set_id)
    if found is None:
        raise GoldError(f"there is no staging set {set_id}: see staging.manifests for those there are")
    return found


def find_manifest(connection: psycopg.Connection, set_id: int) -> Manifest | None:
    """The manifest of a set, None when there is no such set."""
    row = connection.execute(_MANIFEST + "WHERE set_id = %s", [set_id]).fetchone()
    return _manifest(row) if row else None


def manifest_of_run(connection: psycopg.Connection, dataset: str, run_id: str) -> Manifest | None:
    """The newest set that a run wrote, None when it wrote none."""
    query = _MANIFEST + "WHERE dataset = %s AND run_id = %s ORDER BY set_id DESC LIMIT 1"
    row = connection.execute(query, [dataset, run_id]).fetchone()
    return _manifest(row) if row else None


def sets_of_run(connection: psycopg.Connection, dataset: str, run_id: str) -> list[int]:
    """The ids of all sets that a run wrote, oldest first."""
    query = "SELECT set_id FROM staging.manifests WHERE dataset = %s AND run_id = %s ORDER BY set_id"
    return [set_id for (set_id,) in connection.execute(query, [dataset, run_id])]


def newest_set(connection: psycopg.Connection, dataset: str) -> int | None:
    """The id of the newest complete set of a dataset."""
    query = "SELECT set_id FROM staging.manifests WHERE dataset = %s ORDER BY set_id DESC LIMIT 1"
    row = connection.execute(query, [dataset]).fetchone()
    return int(row[0]) if row else None


def newest_unpublished_set(connection: psycopg.Connection, dataset: str, *, before: int) -> int | None:
    """The newest complete set before another that is not published: it may wait for a person."""
    [(set_id,)] = connection.execute(
        "SELECT max(set_id) FROM staging.manifests m WHERE dataset = %s AND set_id < %s "
        "AND NOT EXISTS (SELECT 1 FROM gold.publications p WHERE p.set_id = m.set_id)",
        [dataset, before],
    ).fetchall()
    return set_id if set_id is None else int(set_id)


def datasets_of_sets(connection: psycopg.Connection, set_ids: Collection[int]) -> dict[int, str]:
    """The datasets of those sets that are complete."""
    query = "SELECT set_id, dataset FROM staging.manifests WHERE set_id = ANY(%s)"
    return dict(connection.execute(query, [list(set_ids)]).fetchall())


def next_set_id(connection: psycopg.Connection) -> int:
    """A number for a set that is to be written; never given twice."""
    query = "SELECT nextval(pg_get_serial_sequence('staging.manifests', 'set_id'))"
    [(set_id,)] = connection.execute(query).fetchall()
    return int(set_id)


def write_manifest(
    connection: psycopg.Connection,
    dataset: Dataset,
    *,
    set_id: int,
    run_id: str,
    plan: Plan,
    silver_table_id: str,
    base: Published | None,
    tables: Mapping[str, Mapping[str, object]],
    contract_hash: str,
    excluded: Iterable[int],
    enrichment: Mapping[str, Any] | None,
    code_version: str,
) -> None:
    """Declare a set complete. It is one statement: a set has its manifest or it does not count.

    Args:
        connection: Any connection.
        dataset: The set's dataset.
        set_id: From `next_set_id`.
        run_id: The run that wrote it.
        plan: What it was computed from.
        silver_table_id: Identity of the silver table.
        base: The publication it was computed against.
        tables: Rows and checksum by staging table.
        contract_hash: `gold_contract_hash` of the contracts it was computed by.
        excluded: Ids of the rejected rows that it leaves out.
        enrichment: The labels in force.
        code_version: The code that wrote it.
    """
    from psycopg.types.json import Jsonb

    ids = Jsonb(sorted(excluded))
    connection.execute(
        # The list is the same hour after hour: it is kept once.
        "WITH listed AS (INSERT INTO staging.exclusions SELECT md5(%s::jsonb::text), %s "
        "ON CONFLICT DO NOTHING) "
        "INSERT INTO staging.manifests (set_id, dataset, run_id, kind, silver_table_id, from_version, "
        "to_version, base_publication_id, tables, contract_hash, exclusion_id, enrichment, "
        "code_version, silver_commit) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, md5(%s::jsonb::text), %s, %s, %s)",
        [
            ids,
            ids,
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
            ids,
            Jsonb(enrichment) if enrichment else None,
            code_version,
            plan.commit_id,
        ],
    )


def _manifest(row: tuple[Any, ...]) -> Manifest:
    *head, tables, contract_hash, created_at, code_version, excluded = row
    set_id, dataset, run_id, kind, silver_table_id, from_version, to_version, base = head
    return Manifest(
        set_id=set_id,
        dataset=dataset,
        run_id=run_id,
        kind=kind,
        silver_table_id=silver_table_id,
        from_version=from_version,
        to_version=to_version,
        base_publication_id=base,
        tables={name: StagedTable(int(said["rows"]), str(said["checksum"])) for name, said in tables.items()},
        contract_hash=contract_hash,
        created_at=created_at,
        code_version=code_version,
        excluded=frozenset(excluded),
    )


# --- publications ------------------------------------------------------------------------------------------


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
