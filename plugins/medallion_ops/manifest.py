"""Sets of staging tables and the publications made of them, as Postgres remembers them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from medallion_contracts.errors import GoldError

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
    one this set reaches, inclusive. `base_publication_id` is None before the first publication.
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

    @property
    def is_rebuild(self) -> bool:
        """Whether the set decides about every row of gold, not only about those touched."""
        return self.kind == "rebuild"


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


_MANIFEST = (
    "SELECT set_id, dataset, run_id, kind, silver_table_id, from_version, to_version, base_publication_id, "
    "tables, contract_hash, created_at, coalesce(code_version, 'unknown') FROM staging.manifests "
)
_PUBLICATION = (
    "SELECT publication_id, set_id, silver_table_id, to_version, rows, decision, decided_by, "
    "published_at "
    "FROM gold.publications "
)


def manifest(connection: psycopg.Connection, set_id: int) -> Manifest:
    """The manifest of a set.

    Raises:
        GoldError: There is no such set.
    """
    row = connection.execute(_MANIFEST + "WHERE set_id = %s", [set_id]).fetchone()
    if row is None:
        raise GoldError(f"there is no staging set {set_id}: see staging.manifests for those there are")
    return _manifest(row)


def manifest_of_run(connection: psycopg.Connection, dataset: str, run_id: str) -> Manifest | None:
    """The newest set that a run wrote, None when it wrote none."""
    query = _MANIFEST + "WHERE dataset = %s AND run_id = %s ORDER BY set_id DESC LIMIT 1"
    row = connection.execute(query, [dataset, run_id]).fetchone()
    return _manifest(row) if row else None


def newest_set(connection: psycopg.Connection, dataset: str) -> int | None:
    """The id of the newest complete set of a dataset."""
    query = "SELECT set_id FROM staging.manifests WHERE dataset = %s ORDER BY set_id DESC LIMIT 1"
    row = connection.execute(query, [dataset]).fetchone()
    return int(row[0]) if row else None


def last_publication(connection: psycopg.Connection, dataset: str) -> Publication | None:
    """The newest publication of a dataset."""
    query = _PUBLICATION + "WHERE dataset = %s ORDER BY publication_id DESC LIMIT 1"
    row = connection.execute(query, [dataset]).fetchone()
    return Publication(*row) if row else None


def publication_of_set(connection: psycopg.Connection, set_id: int) -> Publication | None:
    """The publication of a set, None while it is not published."""
    row = connection.execute(_PUBLICATION + "WHERE set_id = %s", [set_id]).fetchone()
    return Publication(*row) if row else None


def _manifest(row: tuple[Any, ...]) -> Manifest:
    *head, tables, contract_hash, created_at, code_version = row
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
    )
