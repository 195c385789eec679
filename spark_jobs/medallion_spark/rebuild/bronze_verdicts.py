"""Puts today's verdicts into bronze where they differ (judge-again)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from delta.tables import DeltaTable
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.model import INCARNATION, Dataset
from medallion_spark.lake.commit_retry import retried
from medallion_spark.lake.tables import LakeTable
from medallion_spark.rebuild.judge_again import by_cause, judge_again, verdict_changes
from medallion_spark.rebuild.own_commits import own_commits, transaction_id
from medallion_spark.rebuild.replacement import read_version
from medallion_spark.stream.options import StreamOptions

_AT = ("topic", "partition", "offset", INCARNATION)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BronzeVerdicts:
    """Today's verdicts for one run of the rebuild; `sequences` is the order of bronze's batches."""

    spark: SparkSession
    dataset: Dataset
    options: StreamOptions
    bronze: LakeTable
    run: str
    sequences: DataFrame
    guard: Callable[[], None]

    def decide_again(self) -> list[dict[str, object]]:
        """Commit what differs; gives the changes by cause, those of the run's earlier tries included."""
        found, own = self.bronze.version(), own_commits(self.bronze, self.run)
        stored = read_version(self.spark, self.bronze, found)
        changes = self._changes(stored).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            causes = by_cause(changes)
            if causes:
                self.guard()
                with self._transaction(own.tries):
                    retried(lambda: self._merge(changes), self.bronze.path)
        finally:
            changes.unpersist()
        if own.tries:
            earlier = read_version(self.spark, self.bronze, own.before)
            since = stored.join(earlier.select(*_AT), list(_AT), "left_anti")
            causes = by_cause(self._changes(earlier.unionByName(since, allowMissingColumns=True)))
        for cause in causes:
            _log.info("%s records: %s -> %s", cause["count"], cause["before"], cause["after"])
        return causes

    def _changes(self, stored: DataFrame) -> DataFrame:
        judged = judge_again(stored, self.sequences, self.dataset, self.options, datetime.now(UTC))
        return verdict_changes(judged)

    @contextmanager
    def _transaction(self, tries: int) -> Iterator[None]:
        """Mark the merge as the run's; numbered, because Delta leaves out a number that it has."""
        settings = {
            "spark.databricks.delta.commitInfo.userMetadata": self.run,
            "spark.databricks.delta.write.txnAppId": transaction_id(self.run, self.bronze),
            "spark.databricks.delta.write.txnVersion": str(tries),
        }
        for name, value in settings.items():
            self.spark.conf.set(name, value)
        try:
            yield
        finally:
            for name in settings:
                self.spark.conf.unset(name)

    def _merge(self, changes: DataFrame) -> None:
        names = ("ingest_date", "topic", "partition", "offset")
        same = " AND ".join(f"bronze.{name} = c.{name}" for name in names)
        same += f" AND coalesce(bronze.{INCARNATION}, 0) = c.incarnation"
        (
            DeltaTable.forPath(self.spark, self.bronze.path)
            .alias("bronze")
            .merge(changes.alias("c"), same)
            .whenMatchedUpdate(
                set={
                    "verdict": "c.after.verdict",
                    "reasons": "c.after.reasons",
                    "contract_hash": F.lit(self.dataset.fingerprint),
                }
            )
            .execute()
        )
