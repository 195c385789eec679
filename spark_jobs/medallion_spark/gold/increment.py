"""The candidates of an increment: everything about the versions, customers and hours that it touches.

What it reads of gold and stages follows the versions that come or go, not the histories they belong to: the
neighbours of each, the newest versions of each customer, and counts that Postgres keeps. The segments of
touched hours are computed inside Postgres, from history as it will be.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import psycopg
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.compile.postgres import (
    GOLD,
    HOURS,
    TOUCHED,
    VERSIONS,
    columns,
    looked_up,
    quoted,
    same_values,
    scopes,
)
from medallion_spark.gold import customers, enrichment, silver_changes, staging
from medallion_spark.gold.candidates import copy_versions, fetch_labels, staged
from medallion_spark.gold.copy import copy_in, fetch
from medallion_store.refresh_plan import Plan, Published, RefreshKind
from medallion_store.rejected_rows import RejectedRow

log = logging.getLogger(__name__)
DATASET = customers.DATASET
HISTORY, SEGMENTS = customers.HISTORY, customers.SEGMENTS


@dataclass(frozen=True)
class Inputs:
    """All that the candidates depend on, fixed at the start of the run."""

    plan: Plan
    silver_path: str
    silver_table_id: str
    published: Published | None
    rejected: tuple[RejectedRow, ...]

    @property
    def in_force(self) -> list[RejectedRow]:
        """Rejected rows to leave out."""
        return [row for row in self.rejected if row.in_force]

    @property
    def changed_rejections(self) -> list[RejectedRow]:
        """Rows rejected or released since the last publication."""
        before = self.published.excluded if self.published else frozenset()
        return [row for row in self.rejected if row.in_force != (row.rejection_id in before)]

    def must_write(self, snapshot: enrichment.Snapshot) -> bool:
        """Whether anything differs from what is published, now that the enrichment source has been read."""
        if self.plan.kind is RefreshKind.FULL or self.published is None or self.changed_rejections:
            return True
        return (
            self.plan.to_version > self.published.to_version or snapshot.fingerprint != self.published.labels
        )


class Increment:
    """Stages one increment.

    Args:
        spark: the session.
        connected: an autocommit connection.
        inputs: what is published and what is new.
        set_id: the set to fill.
    """

    def __init__(
        self, spark: SparkSession, connected: psycopg.Connection, inputs: Inputs, set_id: int
    ) -> None:
        self._spark = spark
        self._connected = connected
        self._inputs = inputs
        self._set_id = set_id
        self._scopes = {scope.name: scope for scope in scopes(DATASET)}

    def copy(self, snapshot: enrichment.Snapshot) -> dict[str, int]:
        """Stage all of it; gives the rows by staging table.

        Raises:
            ChangesGone: the increment cannot be told apart any more; nothing has been staged.
        """
        changes = silver_changes.materialize(self._changes)
        try:
            self._stage_touched(changes, snapshot)
            self._refuse_unknown_customers()
            return self._copy_candidates(changes) | {name: self._count(name) for name in self._scopes}
        finally:
            changes.unpersist()

    def _copy_candidates(self, changes: DataFrame) -> dict[str, int]:
        kept = fetch(
            self._spark,
            customers.kept_query(self._table(TOUCHED), self._table(VERSIONS)),
            customers.kept_columns(),
        )
        with_history_facts = customers.with_history_beside(
            changes, customers.versions_of_history(kept)
        ).persist()
        try:
            labels = fetch_labels(self._spark, self._table(TOUCHED))
            copied = copy_versions(with_history_facts, labels, self._set_id)
        finally:
            with_history_facts.unpersist()
        for name in copied:
            self._execute(f"ANALYZE {self._table(name)}")
        self._stage_hours()
        return copied | self._stage_segments()

    def _changes(self) -> DataFrame:
        """Versions that gold does not have yet: those of new silver versions, and those released."""
        inputs, decided = self._inputs, self._inputs.plan
        new: DataFrame | None = None
        if decided.from_version is not None and decided.from_version < decided.to_version:
            new = silver_changes.read_changes(
                self._spark, inputs.silver_path, decided.from_version, decided.to_version
            )
            new = silver_changes.exclude_rejected(
                customers.versions_of_silver(new), self._spark, DATASET, inputs.in_force
            )
        released = [row for row in inputs.changed_rejections if not row.in_force]
        if not released and new is not None:
            return new
        again = customers.versions_of_silver(
            silver_changes.read_single(self._spark, inputs.silver_path, decided.to_version, DATASET, released)
        )
        # A row may be rejected twice, so that one rejection is still in force.
        again = silver_changes.exclude_rejected(again, self._spark, DATASET, inputs.in_force)
        if new is None:
            return again
        return new.unionByName(again).dropDuplicates([DATASET.key, DATASET.event_time])

    def _stage_touched(self, changes: DataFrame, snapshot: enrichment.Snapshot) -> None:
        """List the versions that come or go, and the customers of those or whose label changed."""
        for name in (VERSIONS, TOUCHED):
            staging.add_key(self._connected, self._set_id, self._scopes[name])
        scope, key = self._scopes[VERSIONS], quoted(DATASET.key)
        start = scope.column_names[1]
        listed = changes.select(DATASET.key, F.col(DATASET.event_time).alias(start)).distinct()
        copied = copy_in(listed, self._set_id, VERSIONS, scope.columns)
        gone = [row for row in self._inputs.changed_rejections if row.in_force]
        rejected = self._execute(
            f"INSERT INTO {self._table(VERSIONS)} ({columns(scope.column_names)}) "
            "SELECT DISTINCT * FROM unnest(%s::text[], %s::timestamptz[]) ON CONFLICT DO NOTHING",
            [[row.key for row in gone], [row.event_time for row in gone]],
        )
        insert = f"INSERT INTO {self._table(TOUCHED)} ({key}) "
        touched = self._execute(f"{insert} SELECT DISTINCT {key} FROM {self._table(VERSIONS)}")
        published = self._inputs.published
        relabelled = 0
        if published is not None and snapshot.fingerprint != published.labels:
            relabelled = self._execute(
                f"{insert} SELECT f.{key} FROM {quoted(GOLD, customers.FEATURES.name)} AS f "
                f"LEFT JOIN gold.enrichment_labels AS l ON l.dataset = %s AND l.key = f.{key} "
                f"WHERE f.{quoted(customers.LABEL)} IS DISTINCT FROM l.label ON CONFLICT DO NOTHING",
                [DATASET.name],
            )
        for name in (VERSIONS, TOUCHED):
            self._execute(f"ANALYZE {self._table(name)}")
        log.info(
            "touched: %s new versions and %s rejected ones, of %s customers; %s more by labels",
            f"{copied:,}",
            f"{rejected:,}",
            f"{touched:,}",
            f"{relabelled:,}",
        )

    def _refuse_unknown_customers(self) -> None:
        """What gold counts of a customer is taken from its features: without them only a rebuild helps."""
        key, features = quoted(DATASET.key), quoted(GOLD, customers.FEATURES.name)
        query = (
            f"SELECT EXISTS (SELECT 1 FROM {self._table(TOUCHED)} AS t WHERE "
            # OFFSET 0: looked up for each customer, as in `looked_up`.
            f"EXISTS (SELECT 1 FROM {quoted(GOLD, HISTORY.name)} AS g WHERE g.{key} = t.{key} OFFSET 0) "
            f"AND NOT EXISTS (SELECT 1 FROM {features} AS f WHERE f.{key} = t.{key} OFFSET 0))"
        )
        [(missing,)] = self._connected.execute(query.encode()).fetchall()
        if missing:
            self._execute(f"TRUNCATE {self._table(TOUCHED)}, {self._table(VERSIONS)}")
            raise silver_changes.ChangesGone(f"{features} lacks customers that gold has a history of")

    def _stage_hours(self) -> None:
        """List the hours whose segments may differ from those published.

        A version counts in its own hour, and there as a new customer if it is the first. So: the hours of
        versions that come or go, and where a customer's first version moves, the hours it left and reached.
        """
        scope, (key, start) = self._scopes[HOURS], (quoted(name) for name in HISTORY.primary_key)
        hour = SEGMENTS.column(scope.column_names[0])
        self._execute(
            f"INSERT INTO {self._table(HOURS)} ({quoted(hour.name)}) SELECT DISTINCT {hour.transform} FROM ("
            f"SELECT {start} FROM {self._table(VERSIONS)} UNION ALL SELECT moved.{start} "
            f"FROM {self._table(TOUCHED)} AS t "
            f"LEFT JOIN {self._table(customers.CUSTOMERS.name)} AS c ON c.{key} = t.{key} "
            f"LEFT JOIN LATERAL (SELECT g.{start} FROM {quoted(GOLD, HISTORY.name)} AS g "
            f"WHERE g.{key} = t.{key} ORDER BY g.{start} LIMIT 1) AS was ON true "
            f"CROSS JOIN LATERAL (VALUES (was.{start}), (c.first_seen_at)) AS moved ({start}) "
            f"WHERE was.{start} IS DISTINCT FROM c.first_seen_at) AS moments WHERE {start} IS NOT NULL"
        )
        staging.add_key(self._connected, self._set_id, scope)
        self._execute(f"ANALYZE {self._table(HOURS)}")

    def _stage_segments(self) -> dict[str, int]:
        """Segments of the listed hours, from the versions that gold keeps as they are and those staged."""
        started = time.monotonic()
        hour = SEGMENTS.primary_key[0]
        start = quoted(HISTORY.primary_key[1])
        in_hour = f"g.{start} >= s.{quoted(hour)} AND g.{start} < s.{quoted(hour)} + interval '1 hour'"
        same = same_values(HISTORY.primary_key, "o", "g")
        names, hours = columns(HISTORY.column_names, "g"), self._table(HOURS)
        others = " AND ".join(
            f"NOT EXISTS (SELECT 1 FROM {self._table(name)} AS o WHERE {same})"
            for name in (VERSIONS, HISTORY.name)
        )
        versions = (
            f"(SELECT {names} FROM {looked_up(hours, HISTORY, in_hour)} WHERE {others} UNION ALL "
            f"SELECT {names} FROM {self._table(HISTORY.name)} AS g JOIN {hours} AS s ON {in_hour}) AS v"
        )
        rows = self._execute(
            f"INSERT INTO {self._table(SEGMENTS.name)} ({columns(SEGMENTS.column_names)}) "
            f"{customers.segments_query(versions)}"
        )
        log.info("segments of touched hours: %s in %.1f s", f"{rows:,}", time.monotonic() - started)
        return {SEGMENTS.name: rows}

    def _execute(self, statement: str, values: list[object] | None = None) -> int:
        return self._connected.execute(statement.encode(), values).rowcount

    def _table(self, name: str) -> str:
        return staged(self._set_id, name)

    def _count(self, name: str) -> int:
        [(rows,)] = self._connected.execute(f"SELECT count(*) FROM {self._table(name)}".encode()).fetchall()
        return int(rows)
