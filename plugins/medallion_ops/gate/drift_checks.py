"""Checks against the last publication: volume and distribution. On the first one they are silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from medallion_contracts.compile.check import DIVERGENCE, ROW_COUNT, Check
from medallion_contracts.compile.postgres import GOLD, STAGING, quoted, staging_name
from medallion_contracts.model import ColumnType, Dataset, Severity, Table
from medallion_store.manifests import Manifest, manifest
from medallion_store.publications import Publication

if TYPE_CHECKING:
    import psycopg

ENOUGH_ROWS = 1_000
"""Below this, how values are spread says nothing, and any change of volume is ordinary."""
LARGEST_GROWTH = 10
SMALLEST_REBUILD = 0.9
LARGEST_DIVERGENCE = 0.2
"""Kullback-Leibler divergence; a share that goes from 50 % to 80 % gives about 0.22."""

Profile = Mapping[tuple[str, str], Mapping[str, int]]
"""Rows per value of each (table, column)."""


def staged_profile(connection: psycopg.Connection, dataset: Dataset, set_id: int) -> Profile:
    """How the values of a set are spread: rows per value of each text enum of the tables without PII."""
    profile: dict[tuple[str, str], dict[str, int]] = {}
    for table in _entity_tables(dataset):
        if any(column.is_pii for column in table.columns):
            continue
        for column in table.columns:
            if column.enum and column.type is ColumnType.STRING:
                name = quoted(column.name)
                rows = connection.execute(
                    f"SELECT {name}, count(*) FROM {quoted(STAGING, staging_name(set_id, table.name))} "  # noqa: S608 - contract names
                    f"WHERE {name} = ANY(%s) GROUP BY 1",
                    [list(column.enum)],
                )
                profile[table.name, column.name] = dict(rows.fetchall())
    return profile


def keep_profile(connection: psycopg.Connection, set_id: int, profile: Profile) -> None:
    """Keep a set's profile, in the caller's transaction."""
    from psycopg.types.json import Jsonb

    connection.execute("DELETE FROM audit.gate_profiles WHERE set_id = %s", [set_id])
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO audit.gate_profiles VALUES (%s, %s, %s, %s)",
            [[set_id, table, column, Jsonb(counts)] for (table, column), counts in profile.items()],
        )


def checks_against_last(
    connection: psycopg.Connection,
    dataset: Dataset,
    written: Manifest,
    last: Publication | None,
    profile: Profile,
) -> dict[str, list[Check]]:
    """The checks of volume and distribution, for each table that has some."""
    if last is None:
        return {}
    checks = [
        *(
            _rebuild_volume(connection, dataset)
            if written.is_rebuild
            else _increment_volume(dataset, manifest(connection, last.set_id))
        ),
        *_distribution(_profile_of(connection, last.set_id), profile),
    ]
    return {table: [check for check in checks if check.table == table] for table in dataset.gold}


def _increment_volume(dataset: Dataset, last: Manifest) -> Iterable[Check]:
    """One table of entities stands for all: a sudden multitude of them is a replay, a reload or a fault."""
    table = _entity_tables(dataset)[0]
    before = last.tables[table.name].rows
    most = LARGEST_GROWTH * max(before, ENOUGH_ROWS)
    yield Check(
        table.name,
        f"{table.name}_volume",
        f"The increment has at most {most:,} rows, {LARGEST_GROWTH} times those of the last publication.",
        Severity.WARNING,
        ROW_COUNT,
        {"max_value": most},
    )


def _rebuild_volume(connection: psycopg.Connection, dataset: Dataset) -> Iterable[Check]:
    """A rebuild decides about every row of gold: one that lost many must not be published unseen."""
    for table in _entity_tables(dataset):
        row = connection.execute(f"SELECT count(*) FROM {quoted(GOLD, table.name)}").fetchone()  # noqa: S608 - contract names
        published = row[0] if row else 0
        least = int(published * SMALLEST_REBUILD)
        yield Check(
            table.name,
            f"{table.name}_volume",
            f"The rebuild has at least {least:,} rows, {SMALLEST_REBUILD:.0%} of those published.",
            Severity.CRITICAL,
            ROW_COUNT,
            {"min_value": least},
        )


def _distribution(before: Profile, now: Profile) -> Iterable[Check]:
    for (table, column), counts in now.items():
        known = before.get((table, column), {})
        total = sum(known.values())
        if min(total, sum(counts.values())) < ENOUGH_ROWS:
            continue
        values = sorted(known)
        yield Check(
            table,
            f"{column}_distribution",
            f"{column} is spread about as in the last publication.",
            Severity.WARNING,
            DIVERGENCE,
            {
                "column": column,
                "threshold": LARGEST_DIVERGENCE,
                "partition_object": {
                    "values": values,
                    "weights": [known[value] / total for value in values],
                },
                # A value that the last publication lacked is unusual, not impossible.
                "tail_weight_holdout": 0.01,
            },
        )


def _profile_of(connection: psycopg.Connection, set_id: int) -> Profile:
    rows = connection.execute(
        "SELECT table_name, column_name, counts FROM audit.gate_profiles WHERE set_id = %s", [set_id]
    )
    return {(table, column): counts for table, column, counts in rows}


def _entity_tables(dataset: Dataset) -> list[Table]:
    """The tables with one row for each entity."""
    return [table for table in dataset.gold.values() if table.primary_key == (dataset.key,)]
