"""The candidates of an increment: everything about the versions, entities, periods and groups it touches.

What it reads of gold and stages follows the versions that come or go, not the histories they belong to: the
neighbours of each, the newest versions of each entity, and counts that Postgres keeps. The aggregates of
touched periods and groups are computed inside Postgres, from the tables as they will be.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import psycopg
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.compile.postgres import (
    GOLD,
    TOUCHED,
    VERSIONS,
    column_type,
    columns,
    quoted,
    scopes,
)
from medallion_contracts.grain import label_of, version_table
from medallion_spark.gold import enrichment, silver_changes, staging, versions
from medallion_spark.gold.candidates import copy_tables, fetch_labels, staged
from medallion_spark.gold.copy import copy_in, fetch
from medallion_spark.gold.published_versions import kept_columns, kept_query
from medallion_spark.gold.touched_aggregates import TouchedAggregates
from medallion_spark.gold.transforms import GoldTransforms
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.session.step_times import StepTimes
from medallion_store.refresh_plan import Plan, Published, RefreshKind
from medallion_store.rejected_rows import RejectedRow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """All that the candidates depend on, fixed at the start of the run."""

    plan: Plan
    silver_path: str
    silver_table_id: str
    published: Published | None
    rejected: tuple[RejectedRow, ...]
    lake: LakeAccess
    few_rows: int

    @property
    def has_few(self) -> bool:
        """Whether there are so few new rows that the driver alone reads them."""
        return self.plan.rows is not None and self.plan.rows <= self.few_rows

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
    """Stages one increment of a dataset with a table of versions.

    Args:
        spark: the session.
        connected: an autocommit connection.
        gold: what the dataset declares.
        inputs: what is published and what is new.
        set_id: the set to fill.
        steps: the job's stopwatch.
    """

    def __init__(
        self,
        spark: SparkSession,
        connected: psycopg.Connection,
        gold: GoldTransforms,
        inputs: Inputs,
        set_id: int,
        steps: StepTimes,
    ) -> None:
        self._spark = spark
        self._connected = connected
        self._gold = gold
        self._dataset = gold.dataset
        self._history = version_table(gold.dataset)
        self._inputs = inputs
        self._set_id = set_id
        self._steps = steps
        self._few = False
        self._scopes = {scope.name: scope for scope in scopes(gold.dataset)}

    def copy(self, snapshot: enrichment.Snapshot) -> dict[str, int]:
        """Stage all of it; gives the rows by staging table.

        Raises:
            ChangesGone: the increment cannot be told apart any more; nothing has been staged.
        """
        # Few rows were read when they were asked for, and are in memory.
        changes = self._changes() if self._inputs.has_few else silver_changes.materialize(self._changes)
        self._steps.end("increment")
        try:
            self._stage_touched(changes, snapshot)
            self._refuse_unknown_entities()
            self._steps.end("touched")
            return self._copy_candidates(changes) | {name: self._count(name) for name in self._scopes}
        finally:
            changes.unpersist()

    def _copy_candidates(self, changes: DataFrame) -> dict[str, int]:
        kept = fetch(
            self._spark,
            kept_query(self._gold, self._history, self._table(TOUCHED), self._table(VERSIONS)),
            kept_columns(self._gold, self._history),
            few=self._few,
        )
        with_history_facts = versions.with_history_beside(
            changes, versions.versions_of_history(kept, self._gold), self._gold
        ).persist()
        try:
            labels = fetch_labels(self._spark, self._dataset, self._table(TOUCHED), few=self._few)
            frames = versions.version_tables(with_history_facts, self._gold, labels)
            copied = copy_tables(frames, self._dataset, self._set_id, few=self._few)
        finally:
            with_history_facts.unpersist()
        self._steps.end("tables")
        for name in copied:
            self._execute(f"ANALYZE {self._table(name)}")
        copied |= TouchedAggregates(self._connected, self._dataset, self._set_id).stage()
        self._steps.end("aggregates")
        return copied

    def _changes(self) -> DataFrame:
        """Versions that gold does not have yet: those of new silver versions, and those released."""
        inputs, decided = self._inputs, self._inputs.plan
        new: DataFrame | None = None
        if decided.from_version is not None and decided.from_version < decided.to_version:
            new = self._let_in(self._new_rows(decided.from_version, decided.to_version))
        released = [row for row in inputs.changed_rejections if not row.in_force]
        if not released and new is not None:
            return new
        # A row may be rejected twice, so that one rejection is still in force.
        again = self._let_in(
            silver_changes.read_single(
                self._spark, inputs.silver_path, decided.to_version, self._dataset, released
            )
        )
        if new is None:
            return again
        return new.unionByName(again).dropDuplicates([self._dataset.key, self._dataset.event_time])

    def _new_rows(self, after: int, to: int) -> DataFrame:
        spark, inputs = self._spark, self._inputs
        if inputs.has_few:
            path = inputs.silver_path
            return silver_changes.read_few_changes(spark, inputs.lake, path, self._dataset, after, to)
        return silver_changes.read_changes(spark, inputs.silver_path, after, to)

    def _let_in(self, silver: DataFrame) -> DataFrame:
        return silver_changes.exclude_rejected(
            versions.versions_of_silver(silver, self._gold),
            self._spark,
            self._dataset,
            self._inputs.in_force,
        )

    def _stage_touched(self, changes: DataFrame, snapshot: enrichment.Snapshot) -> None:
        """List the versions that come or go, and the entities of those or whose label changed."""
        for name in (VERSIONS, TOUCHED):
            staging.add_key(self._connected, self._set_id, self._scopes[name])
        dataset, scope, key = self._dataset, self._scopes[VERSIONS], quoted(self._dataset.key)
        start = scope.column_names[1]
        listed = changes.select(dataset.key, F.col(dataset.event_time).alias(start)).distinct()
        copied = copy_in(listed, self._set_id, VERSIONS, scope.columns, few=self._inputs.has_few)
        gone = [row for row in self._inputs.changed_rejections if row.in_force]
        rejected = self._execute(
            f"INSERT INTO {self._table(VERSIONS)} ({columns(scope.column_names)}) "
            f"SELECT DISTINCT gone.key::{column_type(scope.columns[0])}, gone.start "
            "FROM unnest(%s::text[], %s::timestamptz[]) AS gone (key, start) ON CONFLICT DO NOTHING",
            [[row.key for row in gone], [row.event_time for row in gone]],
        )
        touched = self._execute(
            f"INSERT INTO {self._table(TOUCHED)} ({key}) SELECT DISTINCT {key} FROM {self._table(VERSIONS)}"
        )
        relabelled = self._touch_relabelled(snapshot)
        # Whatever the increment is: other labels may touch every entity.
        self._few = rejected + copied + touched + relabelled <= self._inputs.few_rows
        for name in (VERSIONS, TOUCHED):
            self._execute(f"ANALYZE {self._table(name)}")
        log.info(
            "touched: %s new versions and %s rejected ones, of %s entities; %s more by labels",
            f"{copied:,}",
            f"{rejected:,}",
            f"{touched:,}",
            f"{relabelled:,}",
        )

    def _touch_relabelled(self, snapshot: enrichment.Snapshot) -> int:
        labelled, published = label_of(self._dataset), self._inputs.published
        if labelled is None or published is None or snapshot.fingerprint == published.labels:
            return 0
        (table, label), key = labelled, quoted(self._dataset.key)
        return self._execute(
            f"INSERT INTO {self._table(TOUCHED)} ({key}) SELECT f.{key} FROM {quoted(GOLD, table.name)} AS f "
            f"LEFT JOIN gold.enrichment_labels AS l ON l.dataset = %s AND l.key = f.{key}::text "
            f"WHERE f.{quoted(label.name)} IS DISTINCT FROM l.label ON CONFLICT DO NOTHING",
            [self._dataset.name],
        )

    def _refuse_unknown_entities(self) -> None:
        """What gold counts of an entity is taken from its row: without it only a rebuild helps."""
        if self._gold.counting is None:
            return
        key, counting = quoted(self._dataset.key), quoted(GOLD, self._gold.counting.name)
        query = (
            f"SELECT EXISTS (SELECT 1 FROM {self._table(TOUCHED)} AS t WHERE "
            # OFFSET 0: looked up for each entity, as in `looked_up`.
            f"EXISTS (SELECT 1 FROM {quoted(GOLD, self._history.name)} AS g WHERE g.{key} = t.{key} OFFSET 0)"
            f" AND NOT EXISTS (SELECT 1 FROM {counting} AS f WHERE f.{key} = t.{key} OFFSET 0))"
        )
        [(missing,)] = self._connected.execute(query.encode()).fetchall()
        if missing:
            self._execute(f"TRUNCATE {self._table(TOUCHED)}, {self._table(VERSIONS)}")
            raise silver_changes.ChangesGone(f"{counting} lacks entities that gold has a history of")

    def _execute(self, statement: str, values: list[object] | None = None) -> int:
        return self._connected.execute(statement.encode(), values).rowcount

    def _table(self, name: str) -> str:
        return staged(self._set_id, name)

    def _count(self, name: str) -> int:
        [(rows,)] = self._connected.execute(f"SELECT count(*) FROM {self._table(name)}".encode()).fetchall()
        return int(rows)
