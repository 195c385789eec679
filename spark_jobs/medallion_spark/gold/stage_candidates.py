"""Writes one set of staging tables: the candidate rows of gold, from the silver versions not yet published.

Steps: plan, touched entities, their published history, candidates, touched aggregates, COPY, manifest. Crash
points: until the manifest is there, the set does not count, and the next run drops it and starts again from
the last publication; after that, everything the gate and the publication need is in Postgres. Gold itself
is only read here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import psycopg
from pyspark.sql import DataFrame, SparkSession

from medallion_contracts.compile.postgres import (
    STAGING,
    quoted,
    staging_name,
)
from medallion_contracts.errors import GoldError
from medallion_contracts.grain import has_history, label_of
from medallion_contracts.model import Dataset
from medallion_spark.gold import enrichment, silver_changes, staging, versions
from medallion_spark.gold.candidates import copy_tables, fetch_labels
from medallion_spark.gold.increment import Increment, Inputs
from medallion_spark.gold.job_errors import SPARK_ERRORS, first_line
from medallion_spark.gold.transforms import GoldTransforms, transforms_of
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.session.secrets import gold_dsn
from medallion_spark.session.step_times import StepTimes
from medallion_store.code_version import code_version
from medallion_store.delta_history import silver_state
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths
from medallion_store.manifests import write_manifest
from medallion_store.postgres import gold_connection
from medallion_store.publications import last_published
from medallion_store.refresh_plan import LabelSnapshot, Plan, RefreshKind, gold_contract_hash, plan
from medallion_store.rejected_rows import rejected_rows
from medallion_store.staging_sets import drop_replaced_sets, drop_set, open_set

log = logging.getLogger(__name__)
OpenSession = Callable[[Plan], SparkSession]
"""Opens the session for a plan: with nothing to do none is needed, and few rows need no cluster."""


@dataclass(frozen=True)
class Request:
    """One run of the gold job.

    `full` computes all of gold whatever the increment is; `churn_source` is the enrichment source. Up to
    `few_rows` rows go through the driver alone, without Python workers.
    """

    dataset: Dataset
    lake: LakeAccess
    run_id: str
    churn_source: str | None = None
    full: bool = False
    few_rows: int = 0


@dataclass(frozen=True)
class Report:
    """What a run did; `set_id` is None when there was nothing to do, `took` is its time by step."""

    kind: RefreshKind
    reason: str
    set_id: int | None = None
    from_version: int | None = None
    to_version: int | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    warning: str | None = None
    seconds: float = 0.0
    took: str = ""

    def as_json(self) -> dict[str, object]:
        """For the last line of the job's output."""
        return {**self.__dict__, "rows": dict(self.rows)}


def stage_candidates(open_session: OpenSession, request: Request) -> Report:
    """Write a set of staging tables and its manifest, unless there is nothing new.

    Args:
        open_session: called once it is known what there is to do.
        request: the run.

    Raises:
        GoldError: there is no silver, a task failed for good, Postgres refused a statement, or was restarted
            meanwhile.
        ServiceUnavailable: Postgres does not answer.
    """
    try:
        return _write_set(open_session, request)
    except SPARK_ERRORS as error:
        raise GoldError(f"the set was not written, gold is unchanged: {first_line(error)}") from error


def _write_set(open_session: OpenSession, request: Request) -> Report:
    started, steps, dataset = time.monotonic(), StepTimes(), request.dataset
    steps.end("imports")
    gold = transforms_of(dataset)
    churn_source = request.churn_source if label_of(dataset) else None
    with gold_connection(gold_dsn(), autocommit=True) as connected:
        source_version = enrichment.source_version(churn_source, delta_storage_options(request.lake.login))
        inputs = _inputs(connected, request, source_version)
        log.info("gold %s: %s", inputs.plan.kind.value, inputs.plan.reason)
        if inputs.plan.kind is RefreshKind.NONE:
            return Report(RefreshKind.NONE, inputs.plan.reason, seconds=time.monotonic() - started)
        steps.end("plan")
        spark = open_session(inputs.plan)
        steps.end("session")
        with open_set(connected, dataset, gold_dsn()) as set_id:
            few_rows = request.few_rows
            snapshot = enrichment.refresh(
                spark, connected, dataset, set_id, churn_source, source_version, few_rows=few_rows
            )
            if not inputs.must_write(snapshot):
                drop_set(connected, set_id, is_own=True)
                reason = "the labels of the enrichment source are those published"
                log.info("gold nothing: %s", reason)
                return Report(RefreshKind.NONE, reason, warning=snapshot.warning)
            steps.end("labels")
            try:
                copied = _copy_candidates(spark, connected, gold, inputs, set_id, snapshot, steps)
            except silver_changes.ChangesGone as gone:  # raised before any candidate is staged
                log.warning("gold is computed from all of silver by the cluster: %s", gone)
                rebuild = replace(inputs.plan, kind=RefreshKind.FULL, reason=str(gone), rows=None)
                inputs, spark = replace(inputs, plan=rebuild), open_session(rebuild)
                copied = _copy_candidates(spark, connected, gold, inputs, set_id, snapshot, steps)
            tables = staging.measure(connected, set_id, copied)
            write_manifest(
                connected,
                dataset,
                set_id=set_id,
                run_id=request.run_id,
                plan=inputs.plan,
                silver_table_id=inputs.silver_table_id,
                base=inputs.published,
                tables=tables,
                contract_hash=gold_contract_hash(dataset),
                excluded=[row.rejection_id for row in inputs.in_force],
                enrichment=snapshot.as_json() | _coverage(connected, dataset, set_id),
                code_version=code_version("medallion_contracts", "medallion_store", "medallion_spark"),
            )
        dropped = drop_replaced_sets(connected, dataset, set_id)
        if dropped:
            log.info("staging: dropped sets %s", ", ".join(map(str, dropped)))
        steps.end("manifest")
        log.info("this job took %s", steps)
    return Report(
        kind=inputs.plan.kind,
        reason=inputs.plan.reason,
        set_id=set_id,
        from_version=inputs.plan.from_version,
        to_version=inputs.plan.to_version,
        rows=copied,
        warning=snapshot.warning,
        seconds=round(time.monotonic() - started, 1),
        took=str(steps),
    )


def _inputs(connected: psycopg.Connection, request: Request, source_version: str | None) -> Inputs:
    path = LakePaths(request.lake.uri, request.dataset.name).silver
    published = last_published(connected, request.dataset.name)
    rejected = tuple(rejected_rows(connected, request.dataset))
    silver = silver_state(path, delta_storage_options(request.lake.login), published)
    if silver is None:
        raise GoldError(f"there is no silver table at {path}: let the streaming job write it first")
    stored = enrichment.stored_snapshot(connected, request.dataset)
    decided = plan(
        published,
        silver,
        gold_contract_hash(request.dataset),
        excluded=[row.rejection_id for row in rejected if row.in_force],
        labels=LabelSnapshot(stored.fingerprint, stored.source_version),
        source_version=source_version,
    )
    if decided.kind is RefreshKind.INCREMENT and not has_history(request.dataset):
        reason = f"{decided.reason}; without a table of versions all of gold is computed"
        decided = replace(decided, kind=RefreshKind.FULL, reason=reason, rows=None)
    if request.full and decided.kind is not RefreshKind.FULL:
        decided = replace(decided, kind=RefreshKind.FULL, reason="a full write was asked for", rows=None)
    return Inputs(decided, path, silver.table_id, published, rejected, request.lake, request.few_rows)


def _copy_candidates(
    spark: SparkSession,
    connected: psycopg.Connection,
    gold: GoldTransforms,
    inputs: Inputs,
    set_id: int,
    snapshot: enrichment.Snapshot,
    steps: StepTimes,
) -> dict[str, int]:
    if inputs.plan.kind is RefreshKind.INCREMENT:
        return Increment(spark, connected, gold, inputs, set_id, steps).copy(snapshot)
    silver = versions.versions_of_silver(_all_of_silver(spark, inputs, gold.dataset), gold)
    let_in = silver_changes.exclude_rejected(silver, spark, gold.dataset, inputs.in_force)
    labels = fetch_labels(spark, gold.dataset, few=snapshot.labels <= inputs.few_rows)
    with_history_facts = versions.with_history_facts(let_in, gold).persist()
    try:
        frames = versions.all_tables(with_history_facts, gold, labels)
        return copy_tables(frames, gold.dataset, set_id, few=inputs.has_few)
    finally:
        with_history_facts.unpersist()
        steps.end("tables")


def _all_of_silver(spark: SparkSession, inputs: Inputs, dataset: Dataset) -> DataFrame:
    path, to = inputs.silver_path, inputs.plan.to_version
    if inputs.has_few:  # so its whole history is known, and every commit in it only added rows
        return silver_changes.read_few_changes(spark, inputs.lake, path, dataset, -1, to)
    return silver_changes.read_all(spark, path, to)


def _coverage(connected: psycopg.Connection, dataset: Dataset, set_id: int) -> dict[str, int]:
    """How many of the set's entities have a label; nothing where the dataset has none."""
    labelled = label_of(dataset)
    if labelled is None:
        return {}
    table, label = quoted(STAGING, staging_name(set_id, labelled[0].name)), quoted(labelled[1].name)
    [(rows, known)] = connected.execute(f"SELECT count(*), count({label}) FROM {table}".encode()).fetchall()
    log.info("enrichment: %s of %s rows of this set have a label", f"{known:,}", f"{rows:,}")
    return {"rows": rows, "labelled": known}
