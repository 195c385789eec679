"""Makes the verdicts of a micro-batch, or reads them back from bronze."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts import reasons
from medallion_contracts.model import Dataset
from medallion_spark.stream import accounting, deduplicate, placement
from medallion_spark.stream.accounting import DUPLICATE, LATE, REJECTED, SILVER, Numbers, Row
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.parsing import Lateness, Watermarks, parse_records
from medallion_spark.stream.rows import derive
from medallion_spark.stream.tables import StreamTables


@dataclass(frozen=True)
class Batch:
    """A micro-batch to be judged: whose it is, its clock (UTC), and where its partitions' watermarks are."""

    query_id: str
    batch_id: int
    clock: datetime
    watermarks: Watermarks


@dataclass
class Judged:
    """A micro-batch with its verdicts.

    `records` are those of `parse_records` with `verdict`, the final `reasons` and the columns of ORIGIN;
    `kept` are held in memory; `changed` counts the `contract_changed`.
    """

    records: DataFrame
    rows: Sequence[Row]
    numbers: Numbers
    is_derived: bool
    kept: tuple[DataFrame, ...]
    changed: int = 0

    def release(self) -> None:
        """Free the memory."""
        for frame in self.kept:
            frame.unpersist()


class Verdicts:
    """The verdicts of one stream's micro-batches, by one contract.

    Args:
        spark: the session.
        dataset: its contracts.
        options: what the job was asked.
        tables: prepared.
    """

    def __init__(
        self, spark: SparkSession, dataset: Dataset, options: StreamOptions, tables: StreamTables
    ) -> None:
        self._spark = spark
        self._dataset = dataset
        self._options = options
        self._tables = tables

    def judge(self, records: DataFrame, batch: Batch) -> Judged:
        """Verdicts for a batch that bronze does not have.

        Args:
            records: columns of RECORD_COLUMNS, straight from the source.
            batch: what it is.

        Raises:
            BalanceError: a record has no verdict, or two.
            StreamError: a Kafka partition was read by several tasks.
        """
        dataset, options = self._dataset, self._options
        lateness = None
        if options.lateness == "judge":
            lateness = Lateness(dataset.topic, options.allowed_lateness, batch.watermarks)
        parsed = parse_records(
            records,
            dataset,
            clock=batch.clock,
            lateness=lateness,
            reject_unknown=options.reject_unknown_fields,
            batch_id=batch.batch_id,
        )
        verdict = F.when(F.size("reasons") > 0, REJECTED).when(F.col("is_late"), LATE).otherwise(SILVER)
        first = parsed.select(
            "*",
            F.lit(batch.query_id).alias("_query_id"),
            F.lit(dataset.fingerprint).alias("contract_hash"),
            verdict.alias("verdict"),
            F.spark_partition_id().alias("task"),
        ).persist(StorageLevel.MEMORY_AND_DISK)
        rows = accounting.summarise(first, dataset)
        if lateness is not None:
            accounting.check_one_task_each(rows)
        numbers = accounting.count(rows)
        repeats = self._repeats(first, rows) if numbers.verdicts[SILVER] else None
        kept = [first]
        judged = first
        if repeats is not None:
            found = {row["repeat"]: row["count"] for row in repeats.groupBy("repeat").count().collect()}
            kept.append(repeats)
            numbers = numbers.after_repeats(found)
            if found:
                judged = _with_repeats(first, repeats)
        accounting.check_balance(numbers)
        return Judged(judged, rows, numbers, False, tuple(kept))

    def _repeats(self, first: DataFrame, rows: Sequence[Row]) -> DataFrame | None:
        """Candidates that repeat a version, held in memory; None when there are none."""
        dataset = self._dataset
        candidates = first.where(F.col("verdict") == SILVER).select(*deduplicate.COORDINATES, "fields")
        if self._options.deduplicate == "latest":
            superseded = deduplicate.find_superseded(candidates, dataset)
            latest = candidates.join(superseded, list(deduplicate.COORDINATES), "left_anti")
            repeats = self._exact_repeats(latest, rows)
            return (superseded if repeats is None else superseded.unionAll(repeats)).persist()
        return self._exact_repeats(candidates, rows)

    def _exact_repeats(self, candidates: DataFrame, rows: Sequence[Row]) -> DataFrame | None:
        silver = self._touched_silver(rows)
        suspects = deduplicate.find_suspects(candidates, silver, self._dataset).persist()
        try:
            if not suspects.count():
                return None
            # Pinned in memory: the plan must not read silver again after this batch's append.
            repeats = deduplicate.find_repeats(candidates, silver, F.broadcast(suspects), self._dataset)
            return repeats.localCheckpoint()
        finally:
            suspects.unpersist()

    def _touched_silver(self, rows: Sequence[Row]) -> DataFrame | None:
        """Silver's versions where the batch may repeat them, pinned to today's version of the table."""
        version = self._tables.silver.version()
        if version == 0:
            return None
        names, touched = placement.touched_partitions(rows, self._dataset)
        silver = (
            self._spark.read.format("delta").option("versionAsOf", version).load(self._tables.silver.path)
        )
        found = placement.touched_rows(silver, names, touched, self._dataset.event_time)
        return deduplicate.silver_versions(found, self._dataset)

    def derive(self, query_id: str, batch_id: int) -> Judged:
        """The verdicts that bronze has for a batch, with the rows that today's contract makes of them."""
        table = self._tables.bronze
        stored = (
            self._spark.read.format("delta")
            .load(table.path)
            .where((F.col("_query_id") == query_id) & (F.col("_batch_id") == batch_id))
        )
        ingested = stored.agg(F.unix_micros(F.max("ingested_at")).alias("at")).collect()
        clock = moment(ingested[0]["at"])
        first = (
            derive(stored, self._dataset, clock, made=self._made(query_id, batch_id))
            .withColumn("task", F.lit(0))
            .persist(StorageLevel.MEMORY_AND_DISK)
        )
        rows = accounting.summarise(first, self._dataset)
        numbers = accounting.count(rows)
        accounting.check_balance(numbers)
        changed = first.where(is_changed()).count()
        return Judged(first, rows, numbers, True, (first,), changed)

    def _made(self, query_id: str, batch_id: int) -> DataFrame | None:
        """Coordinates of the rows that silver has of the batch; None when it has not been written."""
        table = self._tables.silver
        if not table.holds(f"{query_id}:{table.name}", batch_id):
            return None
        silver = self._spark.read.format("delta").load(table.path)
        mine = silver.where((F.col("_query_id") == query_id) & (F.col("_batch_id") == batch_id))
        return mine.select(*(F.col(f"_{name}").alias(name) for name in deduplicate.COORDINATES))


def is_changed() -> Column:
    """Whether a record of bronze's silver can no longer be made, by its reasons."""
    return F.array_contains("reasons", reasons.CONTRACT_CHANGED)


def _with_repeats(first: DataFrame, repeats: DataFrame) -> DataFrame:
    """The verdicts with duplicates and conflicts worked in."""
    # At most as many as the batch has records: the records themselves, with their values, need not move.
    joined = first.join(F.broadcast(repeats), list(deduplicate.COORDINATES), "left")
    verdict = (
        F.when(F.col("repeat") == "duplicate", DUPLICATE)
        .when(F.col("repeat") == "conflict", REJECTED)
        .otherwise(F.col("verdict"))
    )
    faults = F.when(F.col("repeat") == "conflict", F.array(F.lit(reasons.CONFLICT))).otherwise(
        F.col("reasons")
    )
    return joined.withColumn("verdict", verdict).withColumn("reasons", faults).drop("repeat")


def moment(micros: int) -> datetime:
    """Microseconds since the epoch as a moment in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
