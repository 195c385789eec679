"""Versions that people kept out of gold: listed, put on the list, released.

The only SQL that names their table is here, for Airflow's side and for Spark's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from medallion_contracts.model import Dataset

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class RejectedRow:
    """A version that a person kept out of gold, or let in again (then it is not in force)."""

    rejection_id: int
    key: str
    event_time: datetime
    in_force: bool
    expectations: tuple[str, ...] = ()
    set_id: int | None = None
    rejected_by: str = ""
    rejected_at: datetime | None = None


def rejected_rows(connection: psycopg.Connection, dataset: Dataset) -> list[RejectedRow]:
    """All rejected rows of a dataset, released or not, oldest first."""
    query = (
        "SELECT rejection_id, key, event_time, released_at IS NULL, expectations, set_id, rejected_by, "
        "rejected_at FROM audit.rejected_rows WHERE dataset = %s ORDER BY rejection_id"
    )
    return [
        RejectedRow(number, key, time, in_force, tuple(expectations), set_id, by, at)
        for number, key, time, in_force, expectations, set_id, by, at in connection.execute(
            query, [dataset.name]
        )
    ]


def rejections_in_force(connection: psycopg.Connection, dataset: str) -> list[int]:
    """The ids of the rejected rows that gold leaves out now."""
    query = "SELECT rejection_id FROM audit.rejected_rows WHERE dataset = %s AND released_at IS NULL"
    return [rejection_id for (rejection_id,) in connection.execute(query, [dataset])]


def sets_that_rejected(connection: psycopg.Connection, rejection_ids: Collection[int]) -> list[int]:
    """The ids of the sets whose failing rows these rejections are."""
    query = "SELECT DISTINCT set_id FROM audit.rejected_rows WHERE rejection_id = ANY(%s) AND set_id NOTNULL"
    return [set_id for (set_id,) in connection.execute(query, [list(rejection_ids)])]


def reject_rows(
    connection: psycopg.Connection, dataset: Dataset, set_id: int, failing: str, rejected_by: str
) -> None:
    """Put rows on the list that increments and rebuilds leave out; doing it again adds nothing.

    Args:
        connection: The connection of the decision's transaction.
        dataset: The set's dataset.
        set_id: The set whose rows fail.
        failing: Query of their key, `version` and the `label` of an expectation that each fails.
        rejected_by: Who decided so.
    """
    from psycopg import sql

    statement = sql.SQL(
        "INSERT INTO audit.rejected_rows AS r (dataset, key, event_time, expectations, set_id, rejected_by) "
        "SELECT %s, f.{key}::text, f.version, array_agg(DISTINCT f.label), %s::bigint, %s "
        "FROM ({failing}) AS f GROUP BY f.{key}, f.version "
        "ON CONFLICT (dataset, key, event_time) WHERE released_at IS NULL DO UPDATE "
        "SET expectations = ARRAY(SELECT DISTINCT unnest(r.expectations || EXCLUDED.expectations)) "
        "WHERE NOT r.expectations @> EXCLUDED.expectations"
    ).format(
        key=sql.Identifier(dataset.key),
        failing=sql.SQL(failing.replace("%", "%%")),  # its percent signs are no places of values
    )
    connection.execute(statement, [dataset.name, set_id, rejected_by])


def count_rejected(connection: psycopg.Connection, set_id: int) -> int:
    """How many rows of a set are on the list now."""
    query = "SELECT count(*) FROM audit.rejected_rows WHERE set_id = %s AND released_at IS NULL"
    [(count,)] = connection.execute(query, [set_id]).fetchall()
    return int(count)


def release_row(
    connection: psycopg.Connection, dataset: Dataset, key: str, version: datetime, by: str
) -> bool:
    """Let a rejected row in again: the next write computes its entity again. False when there is none."""
    statement = (
        "UPDATE audit.rejected_rows SET released_at = clock_timestamp(), released_by = %s "
        "WHERE dataset = %s AND key = %s AND event_time = %s AND released_at IS NULL"
    )
    return connection.execute(statement, [by, dataset.name, key, version]).rowcount == 1
