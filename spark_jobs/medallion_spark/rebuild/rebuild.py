"""Makes silver and quarantine what bronze says, in one commit each, while nobody else writes silver.

What a kill leaves behind, and what the next run does:

| killed | there is | the next run |
|---|---|---|
| before bronze's commit (judge-again) | all as it was | judges anew |
| before silver's commit | new verdicts, the old silver | finds no verdict to change, replaces silver |
| before quarantine's commit | both but quarantine | replaces quarantine; silver's commit is there already |

A run that is done again under its id tells what it changed in all: each table is compared as it was before
the run's first commit.

The lease keeps the stream away until silver is replaced. A rebuild that is killed leaves a lease that is
stale after a minute; the stop request, which whoever started the rebuild wrote, keeps the stream away until
the rebuild has been done again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from delta.tables import DeltaTable
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.errors import StreamError
from medallion_contracts.model import INCARNATION, Dataset
from medallion_spark.lake.commit_retry import retried
from medallion_spark.lake.incarnations import with_incarnation
from medallion_spark.lake.table_rows import derive, quarantine_rows, rows_of, silver_rows
from medallion_spark.lake.tables import LakeTable, StreamTables, stream_tables
from medallion_spark.rebuild.compare import Differences, compare_rows
from medallion_spark.rebuild.judge_again import by_cause, judge_again, verdict_changes
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream.batch_balance import SILVER
from medallion_spark.stream.ledger import Ledger
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.recovery import unfinished_batch
from medallion_store.control_files import control_files
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths
from medallion_store.lease import LEASE_STALE_SECONDS, Lease, LeaseThread

AS_JUDGED, JUDGE_AGAIN = "as-judged", "judge-again"

_SILVER_AT = ("_topic", "_partition", "_offset", INCARNATION)
_QUARANTINE_AT = ("topic", "partition", "offset", INCARNATION)
_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_DATA_COMMITS = ("WRITE", "MERGE", "UPDATE", "DELETE")
_RECENT_COMMITS = 100
"""Far more than maintenance makes while one rebuild is tried again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild did.

    `silver_differences` and `quarantine_differences`: how the tables of before differed from those made anew;
    `verdict_changes`: records by verdict before and after (judge-again).
    """

    mode: str
    records: int
    silver_rows: int
    silver_version: int
    silver_differences: Differences
    quarantine_rows: int
    quarantine_differences: Differences
    verdict_changes: list[dict[str, object]]


class Rebuild:
    """One rebuild of a dataset; the same `run_id` again replaces silver only once."""

    def __init__(
        self, spark: SparkSession, dataset: Dataset, lake: LakeAccess, options: StreamOptions, run_id: str
    ) -> None:
        self._spark = spark
        self._dataset = dataset
        self._options = options
        self._app_id = f"rebuild:{run_id}"
        self._tables: StreamTables = stream_tables(LakePaths(lake.uri, dataset.name), dataset, lake)
        self._ledger = Ledger(LakePaths(lake.uri, dataset.name).ledger, delta_storage_options(lake.login))
        self._lease = Lease(control_files(lake.login), LakePaths(lake.uri, dataset.name).lease, "rebuild")

    def run(self, mode: str) -> Rebuilt:
        """Do it, holding the lease on silver.

        Raises:
            LeaseError: the stream or another job writes silver; ask it to stop first.
            StreamError: there is no bronze, the stream's last batch is not finished, or the run's id has been
                used before.
        """
        with _held(self._lease):
            self._tables.prepare()
            self._ledger.prepare()
            if self._tables.bronze.version() == 0:
                raise StreamError(f"{self._tables.bronze.path} is empty: there is nothing to rebuild from")
            self._refuse_half_a_batch()
            self._refuse_a_used_id()
            changes = self._decide_again() if mode == JUDGE_AGAIN else []
            return self._replace(mode, changes)

    def _refuse_half_a_batch(self) -> None:
        """Rows of a batch that the stream still has to finish would come again when it does."""
        batch_id = unfinished_batch(self._tables.bronze, self._ledger)
        if batch_id is not None:
            raise StreamError(
                f"the stream died in batch {batch_id}, which bronze has and the ledger lacks: let the stream "
                "run until that batch is done, then rebuild"
            )

    def _refuse_a_used_id(self) -> None:
        """Delta leaves the second overwrite of an id out, also when the stream has written meanwhile."""
        silver = self._tables.silver
        recent = silver.log().history(_RECENT_COMMITS)
        own = self._own_versions(recent)
        if own and any(e["version"] > max(own) and e["operation"] in _DATA_COMMITS for e in recent):
            raise StreamError(
                f"{silver.path} was rebuilt by this run and written since: trigger a new run of the rebuild"
            )

    def _decide_again(self) -> list[dict[str, object]]:
        """Put today's verdicts into bronze where they differ; gives the changes by cause."""
        bronze = self._tables.bronze
        found, before = bronze.version(), self._version_before(bronze)
        changes = self._changes_since(found).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            causes = by_cause(changes)
            if causes:
                self._lease.check()
                retried(lambda: self._merge_verdicts(changes), bronze.path)
        finally:
            changes.unpersist()
        if before != found:
            causes = by_cause(self._changes_since(before))
        for cause in causes:
            _log.info("%s records: %s -> %s", cause["count"], cause["before"], cause["after"])
        return causes

    def _changes_since(self, version: int) -> DataFrame:
        stored = self._read(self._tables.bronze, version)
        return verdict_changes(judge_again(stored, self._dataset, self._options, datetime.now(UTC)))

    def _merge_verdicts(self, changes: DataFrame) -> None:
        self._spark.conf.set(_USER_METADATA, self._app_id)
        try:
            self._merge(changes)
        finally:
            self._spark.conf.unset(_USER_METADATA)

    def _merge(self, changes: DataFrame) -> None:
        names = ("ingest_date", "topic", "partition", "offset")
        same = " AND ".join(f"bronze.{name} = c.{name}" for name in names)
        same += f" AND coalesce(bronze.{INCARNATION}, 0) = c.incarnation"
        (
            DeltaTable.forPath(self._spark, self._tables.bronze.path)
            .alias("bronze")
            .merge(changes.alias("c"), same)
            .whenMatchedUpdate(
                set={
                    "verdict": "c.after.verdict",
                    "reasons": "c.after.reasons",
                    "contract_hash": F.lit(self._dataset.fingerprint),
                }
            )
            .execute()
        )

    def _replace(self, mode: str, changes: list[dict[str, object]]) -> Rebuilt:
        dataset, tables = self._dataset, self._tables
        # On disk: the bytes of all records are read and parsed once, and need no memory.
        judged = derive(self._read(tables.bronze), dataset, datetime.now(UTC)).persist(StorageLevel.DISK_ONLY)
        try:
            counts = {row["verdict"]: row["count"] for row in judged.groupBy("verdict").count().collect()}
            silver = rows_of(judged, partial(silver_rows, dataset=dataset), tables.silver.schema)
            silver_differences = compare_rows(silver, self._as_it_was(tables.silver), _SILVER_AT)
            _log.info("silver was, compared with bronze: %s", silver_differences)
            # A partition's rows together: one file each, however many hours there are.
            self._overwrite(tables.silver, silver.repartition(*dataset.silver.partitioned_by))
            quarantine = rows_of(judged, quarantine_rows, tables.quarantine.schema)
            quarantine_differences = compare_rows(
                quarantine, self._as_it_was(tables.quarantine), _QUARANTINE_AT
            )
            _log.info("quarantine was, compared with bronze: %s", quarantine_differences)
            if not quarantine_differences.are_none:
                self._overwrite(tables.quarantine, quarantine.repartition("ingest_date"))
        finally:
            judged.unpersist()
        records = sum(counts.values())
        return Rebuilt(
            mode=mode,
            records=records,
            silver_rows=counts.get(SILVER, 0),
            silver_version=tables.silver.version(),
            silver_differences=silver_differences,
            quarantine_rows=sum(counts.get(verdict, 0) for verdict in ("late", "rejected")),
            quarantine_differences=quarantine_differences,
            verdict_changes=changes,
        )

    def _as_it_was(self, table: LakeTable) -> DataFrame:
        return self._read(table, self._version_before(table))

    def _version_before(self, table: LakeTable) -> int:
        """The version that this run found, by whichever try of it."""
        own = self._own_versions(table.log().history(_RECENT_COMMITS))
        return min(own) - 1 if own else table.version()

    def _own_versions(self, commits: Iterable[Mapping[str, Any]]) -> list[int]:
        """The versions that this run made, by whichever try of it."""
        return [commit["version"] for commit in commits if commit.get("userMetadata") == self._app_id]

    def _read(self, table: LakeTable, version: int | None = None) -> DataFrame:
        # Pinned: a plan that is computed again after a commit of ours must read what it read before.
        pinned = table.version() if version is None else version
        return with_incarnation(
            self._spark.read.format("delta").option("versionAsOf", pinned).load(table.path)
        )

    def _overwrite(self, table: LakeTable, rows: DataFrame) -> None:
        self._lease.check()
        writer = (
            rows.write.format("delta")
            .mode("overwrite")
            .option("txnAppId", f"{self._app_id}:{table.name}")
            .option("txnVersion", 0)
            .option("userMetadata", self._app_id)
        )
        retried(lambda: writer.save(table.path), table.path)


@contextmanager
def _held(lease: Lease) -> Iterator[None]:
    """Hold the lease, with a thread that keeps it fresh."""
    # A driver that was killed leaves its lease, which expires without its heartbeat.
    lease.acquire(wait_seconds=LEASE_STALE_SECONDS + 5)
    thread = LeaseThread(lease)
    thread.start()
    try:
        yield
    finally:
        thread.stop()
        lease.release()


def as_json(rebuilt: Rebuilt) -> dict[str, object]:
    """For the last line of the job's output."""
    return asdict(rebuilt)
