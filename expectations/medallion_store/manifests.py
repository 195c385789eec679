"""The manifests of gold's sets of candidates: a set counts when it has one.

Those that were published are in `publications`, the rows that sets leave out in `rejected_rows`.
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
