"""Writes one set of staging tables: the candidate rows of gold, from the silver versions not yet published.

Steps: plan, touched customers, their published history, candidates, touched hours, COPY, manifest. Crash
points: until the manifest is there, the set does not count, and the next run drops it and starts anew from
the last publication; after that, everything the gate and the publication need is in Postgres. Gold itself is
only read here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import psycopg
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.compile.postgres import (
    GOLD,
    HOURS,
    STAGING,
    TOUCHED,
    columns,
    literal,
    looked_up,
    quoted,
    scopes,
    staging_name,
)
from medallion_contracts.errors import GoldError
from medallion_contracts.model import Column, ColumnType, Table
from medallion_spark.gold import customers, enrichment, silver_changes, staging
from medallion_spark.gold.copy import copy_in, fetch
from medallion_spark.gold.job_errors import SPARK_ERRORS, first_line
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.session.secrets import gold_dsn
from medallion_store.code_version import code_version
from medallion_store.delta_history import silver_state
from medallion_store.gold_catalogue import last_published, write_manifest
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths
from medallion_store.postgres import gold_connection
from medallion_store.refresh_plan import LabelSnapshot, Plan, Published, RefreshKind, gold_contract_hash, plan
from medallion_store.rejected_rows import RejectedRow, rejected_rows
from medallion_store.staging_sets import drop_replaced_sets, drop_set, open_set, staged_tables

log = logging.getLogger(__name__)
DATASET = customers.DATASET


@dataclass(frozen=True)
class Request:
    """One run of the gold job.

    `full` computes all of gold anew whatever the increment is; `churn_source` is the enrichment source.
    """

    lake: LakeAccess
    run_id: str
    churn_source: str | None = None
    full: bool = False


@dataclass(frozen=True)
class Report:
    """What a run did; `set_id` is None when there was nothing to do."""

    kind: RefreshKind
    reason: str
    set_id: int | None = None
    from_version: int | None = None
    to_version: int | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    warning: str | None = None
    seconds: float = 0.0

    def as_json(self) -> dict[str, object]:
        """For the last line of the job's output."""
        return {**self.__dict__, "rows": dict(self.rows)}


@dataclass(frozen=True)
class _Inputs:
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


def stage_candidates(spark: SparkSession, request: Request) -> Report:
    """Write a set of staging tables and its manifest, unless there is nothing new.

    Raises:
        GoldError: there is no silver, a task failed for good, Postgres refused a statement, or was restarted
            meanwhile.
        ServiceUnavailable: Postgres does not answer.
    """
    try:
        return _write_set(spark, request)
    except SPARK_ERRORS as error:
        raise GoldError(f"the set was not written, gold is unchanged: {first_line(error)}") from error


def _write_set(spark: SparkSession, request: Request) -> Report:
    started = time.monotonic()
    with gold_connection(gold_dsn(), autocommit=True) as connected:
        source_version = enrichment.source_version(
            request.churn_source, delta_storage_options(request.lake.login)
        )
        inputs = _inputs(connected, request, source_version)
        log.info("gold %s: %s", inputs.plan.kind.value, inputs.plan.reason)
        if inputs.plan.kind is RefreshKind.NONE:
            return Report(RefreshKind.NONE, inputs.plan.reason, seconds=time.monotonic() - started)
        with open_set(connected, DATASET, gold_dsn()) as set_id:
            snapshot = enrichment.refresh(
                spark, connected, DATASET, set_id, request.churn_source, source_version
            )
            if not inputs.must_write(snapshot):
                drop_set(connected, set_id, is_own=True)
                reason = "the labels of the enrichment source are those published"
                log.info("gold nothing: %s", reason)
                return Report(RefreshKind.NONE, reason, warning=snapshot.warning)
            copied, inputs = _copy_candidates(spark, connected, inputs, set_id, snapshot)
            _report_time("candidates copied", started)
            tables = staging.measure(connected, set_id, copied)
            _report_time("staging measured", started)
            write_manifest(
                connected,
                DATASET,
                set_id=set_id,
                run_id=request.run_id,
                plan=inputs.plan,
                silver_table_id=inputs.silver_table_id,
                base=inputs.published,
                tables=tables,
                contract_hash=gold_contract_hash(DATASET),
                excluded=[row.rejection_id for row in inputs.in_force],
                enrichment=snapshot.as_json() | _coverage(connected, set_id),
                code_version=code_version("medallion_contracts", "medallion_store", "medallion_spark"),
            )
        dropped = drop_replaced_sets(connected, DATASET, set_id)
        if dropped:
            log.info("staging: dropped sets %s", ", ".join(map(str, dropped)))
    return Report(
        kind=inputs.plan.kind,
        reason=inputs.plan.reason,
        set_id=set_id,
        from_version=inputs.plan.from_version,
        to_version=inputs.plan.to_version,
        rows=copied,
        warning=snapshot.warning,
        seconds=round(time.monotonic() - started, 1),
    )


def _inputs(connected: psycopg.Connection, request: Request, source_version: str | None) -> _Inputs:
    path = LakePaths(request.lake.uri, DATASET.name).silver
    published = last_published(connected, DATASET.name)
    rejected = tuple(rejected_rows(connected, DATASET))
    since = published.to_version if published else None
    silver = silver_state(path, delta_storage_options(request.lake.login), since)
    if silver is None:
        raise GoldError(f"there is no silver table at {path}: let the streaming job write it first")
    stored = enrichment.stored_snapshot(connected, DATASET)
    decided = plan(
        published,
        silver,
        gold_contract_hash(DATASET),
        excluded=[row.rejection_id for row in rejected if row.in_force],
        labels=LabelSnapshot(stored.fingerprint, stored.source_version),
        source_version=source_version,
    )
    if request.full and decided.kind is not RefreshKind.FULL:
        decided = replace(decided, kind=RefreshKind.FULL, reason="a full write was asked for")
    return _Inputs(decided, path, silver.table_id, published, rejected)


def _copy_candidates(
    spark: SparkSession,
    connected: psycopg.Connection,
    inputs: _Inputs,
    set_id: int,
    snapshot: enrichment.Snapshot,
) -> tuple[dict[str, int], _Inputs]:
    """Copies the candidates; an increment that cannot be read any more becomes a rebuild on the way."""
    if inputs.plan.kind is RefreshKind.INCREMENT:
        try:
            return _Increment(spark, connected, inputs, set_id).copy(snapshot), inputs
        except silver_changes.ChangesGone as gone:  # raised before anything is staged
            log.warning("gold rebuild instead of increment: %s", gone)
            rebuild = replace(inputs.plan, kind=RefreshKind.FULL, reason=str(gone))
            inputs = replace(inputs, plan=rebuild)
    silver = silver_changes.read_all(spark, inputs.silver_path, inputs.plan.to_version)
    versions = silver_changes.exclude_rejected(
        customers.versions_of_silver(silver), spark, DATASET, inputs.in_force
    )
    labels = fetch(spark, _labels_query(), _labels_table())
    with_history_facts = customers.with_history_facts(versions).persist()
    try:
        copied = _copy_versions(with_history_facts, labels, set_id)
        segments = customers.segments(customers.history(with_history_facts), None)
        return {**copied, **_copy(segments, set_id, customers.SEGMENTS.name)}, inputs
    finally:
        with_history_facts.unpersist()


class _Increment:
    """The candidates of an increment: everything about the customers and hours that it touches."""

    def __init__(
        self, spark: SparkSession, connected: psycopg.Connection, inputs: _Inputs, set_id: int
    ) -> None:
        self._spark = spark
        self._connected = connected
        self._inputs = inputs
        self._set_id = set_id
        self._scopes = {scope.name: scope for scope in scopes(DATASET)}

    def copy(self, snapshot: enrichment.Snapshot) -> dict[str, int]:
        """Rows copied by staging table."""
        changes = silver_changes.materialize(self._changes)
        self._stage_touched(changes, snapshot)
        published = fetch(self._spark, self._history_query(), customers.HISTORY).persist()
        newly_rejected = [row for row in self._inputs.changed_rejections if row.in_force]
        known = silver_changes.exclude_rejected(
            customers.versions_of_history(published), self._spark, DATASET, newly_rejected
        )
        with_history_facts = customers.with_history_facts(known.unionByName(changes)).persist()
        try:
            copied = _copy_versions(
                with_history_facts, fetch(self._spark, self._labels(), _labels_table()), self._set_id
            )
            hours = self._stage_hours(changes, published, with_history_facts, newly_rejected)
            of_hours = customers.history(with_history_facts).join(
                F.broadcast(hours),
                customers.hour_of(customers.HISTORY.primary_key[1]) == hours[HOUR],
                "left_semi",
            )
            rest = fetch(
                self._spark,
                customers.rest_query(self._table(HOURS), self._table(TOUCHED)),
                customers.rest_columns(),
            )
            copied |= _copy(customers.segments(of_hours, rest), self._set_id, customers.SEGMENTS.name)
            return copied | {name: self._count(name) for name in self._scopes}
        finally:
            for frame in (changes, published, with_history_facts):
                frame.unpersist()

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
        scope = self._scopes[TOUCHED]
        staging.index_and_analyze(self._connected, self._set_id, scope)
        key = quoted(DATASET.key)
        copied = copy_in(changes.select(DATASET.key).distinct(), self._set_id, TOUCHED, (scope.column,))
        insert = f"INSERT INTO {self._table(TOUCHED)} ({key}) "
        rejected = self._connected.execute(
            f"{insert} SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING".encode(),
            [sorted({row.key for row in self._inputs.changed_rejections})],
        ).rowcount
        published = self._inputs.published
        relabelled = 0
        if published is not None and snapshot.fingerprint != published.labels:
            relabelled = self._connected.execute(
                f"{insert} SELECT f.{key} FROM {quoted(GOLD, customers.FEATURES.name)} AS f "
                f"LEFT JOIN gold.enrichment_labels AS l ON l.dataset = %s AND l.key = f.{key} "
                f"WHERE f.{quoted(customers.LABEL)} IS DISTINCT FROM l.label ON CONFLICT DO NOTHING".encode(),
                [DATASET.name],
            ).rowcount
        self._connected.execute(f"ANALYZE {self._table(TOUCHED)}".encode())
        log.info(
            "touched: %s by new versions, %s by rejections, %s by labels",
            f"{copied:,}",
            f"{rejected:,}",
            f"{relabelled:,}",
        )

    def _stage_hours(
        self,
        changes: DataFrame,
        published: DataFrame,
        with_history_facts: DataFrame,
        newly_rejected: list[RejectedRow],
    ) -> DataFrame:
        """Hours whose segments may differ from those published.

        A version counts in its own hour, and there as a new customer if it is the first. So: the hours of
        versions that come or go, and where a customer's first version moves, the hours it left and reached.
        """
        key, utc_time = customers.HISTORY.primary_key
        before = published.where("is_first").select(key, F.col(utc_time).alias("before"))
        after = with_history_facts.where("is_first").select(key, F.col(DATASET.event_time).alias("after"))
        moved = (
            before.join(after, key, "full_outer")
            .where(~F.col("before").eqNullSafe(F.col("after")))
            .select(F.explode(F.array("before", "after")).alias(utc_time))
            .where(F.col(utc_time).isNotNull())
        )
        moments = changes.select(F.col(DATASET.event_time).alias(utc_time)).unionByName(moved)
        if newly_rejected:
            gone = silver_changes.rejected_keys(self._spark, DATASET, newly_rejected)
            moments = moments.unionByName(gone.select(F.col(DATASET.event_time).alias(utc_time)))
        hours = moments.select(customers.hour_of(utc_time)).distinct().persist()
        scope = self._scopes[HOURS]
        count = copy_in(hours, self._set_id, HOURS, (scope.column,))
        staging.index_and_analyze(self._connected, self._set_id, scope)
        log.info("touched: %s hours", f"{count:,}")
        return hours

    def _history_query(self) -> str:
        key = quoted(DATASET.key)
        found = looked_up(self._table(TOUCHED), customers.HISTORY, f"g.{key} = s.{key}")
        return f"SELECT {columns(customers.HISTORY.column_names, 'g')} FROM {found}"

    def _labels(self) -> str:
        return f"{_labels_query()} AND l.key IN (SELECT {quoted(DATASET.key)} FROM {self._table(TOUCHED)})"

    def _table(self, name: str) -> str:
        return quoted(STAGING, staging_name(self._set_id, name))

    def _count(self, name: str) -> int:
        [(rows,)] = self._connected.execute(f"SELECT count(*) FROM {self._table(name)}".encode()).fetchall()
        return int(rows)


HOUR = customers.SEGMENTS.primary_key[0]


def _copy_versions(with_history_facts: DataFrame, labels: DataFrame, set_id: int) -> dict[str, int]:
    copied = _copy(customers.history(with_history_facts), set_id, customers.HISTORY.name)
    copied |= _copy(customers.customers(with_history_facts), set_id, customers.CUSTOMERS.name)
    return copied | _copy(customers.features(with_history_facts, labels), set_id, customers.FEATURES.name)


def _copy(frame: DataFrame, set_id: int, name: str) -> dict[str, int]:
    started = time.monotonic()
    rows = copy_in(frame, set_id, name, staged_tables(DATASET)[name])
    log.info(
        "staging.%s: %s rows in %.1f s", staging_name(set_id, name), f"{rows:,}", time.monotonic() - started
    )
    return {name: rows}


def _labels_table() -> Table:
    label = Column(customers.LABEL, ColumnType.BOOLEAN, "Label.")
    return Table(
        "labels", "", (customers.FEATURES.column(DATASET.key), label), (DATASET.key,), (), (), (), ""
    )


def _labels_query() -> str:
    return (
        f"SELECT l.key AS {quoted(DATASET.key)}, l.label AS {quoted(customers.LABEL)} "
        f"FROM gold.enrichment_labels AS l WHERE l.dataset = {literal(DATASET.name)}"
    )


def _coverage(connected: psycopg.Connection, set_id: int) -> dict[str, int]:
    """How many of the set's customers have a label."""
    table = quoted(STAGING, staging_name(set_id, customers.FEATURES.name))
    [(rows, labelled)] = connected.execute(
        f"SELECT count(*), count({quoted(customers.LABEL)}) FROM {table}".encode()
    ).fetchall()
    log.info("enrichment: %s of %s customers of this set have a label", f"{labelled:,}", f"{rows:,}")
    return {"customers": rows, "labelled": labelled}


def _report_time(what: str, started: float) -> None:
    log.info("%s after %.1f s", what, time.monotonic() - started)
