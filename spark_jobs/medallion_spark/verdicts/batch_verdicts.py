"""Makes the verdicts of a micro-batch, or reads them back from bronze."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts import reasons
from medallion_contracts.model import Dataset
from medallion_spark.lake.batch_rows import batch_rows
from medallion_spark.lake.data_files import KEY_HASH, DataFile
from medallion_spark.lake.incarnations import incarnation_of, with_incarnation
from medallion_spark.lake.table_rows import derive
from medallion_spark.lake.tables import BRONZE_SCHEMA, LakeTable, StreamTables
from medallion_spark.stream import batch_balance
from medallion_spark.stream.batch_balance import LATE, REJECTED, SILVER, BatchCounts, Summary
from medallion_spark.stream.options import StreamOptions
from medallion_spark.verdicts import deduplicate
from medallion_spark.verdicts.deduplicate import COORDINATES, REPEATS
from medallion_spark.verdicts.parse import Lateness, Watermarks, parse_records
from medallion_spark.verdicts.repeat_search import RepeatSearch


@dataclass(frozen=True)
class Batch:
    """A micro-batch to be judged.

    Whose it is, its clock (UTC), where its partitions' watermarks are, and which incarnation of each topic it
    reads (0 of those not named).
    """

    query_id: str
    batch_id: int
    clock: datetime
    watermarks: Watermarks
    incarnations: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Judged:
    """A micro-batch with its verdicts.

    `records`, held in memory, are those of `parse_records` with `verdict`; `repeats` change their verdicts
    and reasons. What is the same for all is in `constants`, if it is not a column: ORIGIN's columns.
    `changed` counts the `contract_changed`.
    """

    records: DataFrame
    repeats: pa.Table
    constants: Mapping[str, pa.Scalar]
    summary: Summary
    numbers: BatchCounts
    is_derived: bool = False
    changed: int = 0

    def release(self) -> None:
        """Free the memory."""
        self.records.unpersist()


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
        self._search = RepeatSearch(
            spark, dataset, tables.silver, latest_only=options.deduplicate == "latest"
        )

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
            records.withColumn("incarnation", incarnation_of(batch.incarnations)),
            dataset,
            clock=batch.clock,
            lateness=lateness,
            reject_unknown=options.reject_unknown_fields,
        )
        verdict = F.when(F.size("reasons") > 0, REJECTED).when(F.col("is_late"), LATE).otherwise(SILVER)
        first = self._materialized(
            parsed.select("*", verdict.alias("verdict"), F.spark_partition_id().alias("task"))
        )
        summary = batch_balance.summarise(first, dataset)
        if lateness is not None:
            batch_balance.check_one_task_each(summary.sources)
        numbers = batch_balance.count(summary.sources)
        repeats = REPEATS.empty_table()
        if numbers.verdicts[SILVER]:
            repeats = self._search.find(first, summary.hours)
        numbers = numbers.after_repeats(Counter(repeats["repeat"].to_pylist()))
        batch_balance.check_balance(numbers)
        constants = {
            "_query_id": pa.scalar(batch.query_id),
            "_batch_id": pa.scalar(batch.batch_id, pa.int64()),
            "ingested_at": pa.scalar(batch.clock, pa.timestamp("us", tz="UTC")),
            "contract_hash": pa.scalar(dataset.fingerprint),
        }
        return Judged(first, repeats, constants, summary, numbers)

    def _materialized(self, judged: DataFrame) -> DataFrame:
        """Held in memory, on disk what is too large for that; with KEY_HASH of what goes to silver."""
        hashes = F.when(F.col("verdict") == SILVER, deduplicate.key_hash(self._dataset)).alias(KEY_HASH)
        return judged.select("*", hashes).persist(StorageLevel.MEMORY_AND_DISK)

    def remember(self, files: Iterable[DataFile]) -> None:
        """Remember what the files hold that a batch wrote to silver."""
        self._search.remember(files)

    def derive(self, query_id: str, batch_id: int) -> Judged:
        """The verdicts that bronze has for a batch, with the rows that today's contract makes of them."""
        columns = [name for name in BRONZE_SCHEMA.names if name not in self._tables.bronze.partitioned_by]
        stored = self._rows(self._tables.bronze, query_id, batch_id, columns)
        ingested = stored.select(F.unix_micros("ingested_at").alias("at")).take(1)
        clock = utc_time(ingested[0]["at"])
        first = self._materialized(
            derive(stored, self._dataset, clock, made=self._made(query_id, batch_id)).withColumn(
                "task", F.lit(0)
            )
        )
        summary = batch_balance.summarise(first, self._dataset)
        numbers = batch_balance.count(summary.sources)
        batch_balance.check_balance(numbers)
        changed = first.where(is_changed()).count()
        return Judged(first, REPEATS.empty_table(), {}, summary, numbers, is_derived=True, changed=changed)

    def _made(self, query_id: str, batch_id: int) -> DataFrame | None:
        """Coordinates of the rows that silver has of the batch; None when it has not been written."""
        table = self._tables.silver
        if not table.holds(f"{query_id}:{table.name}", batch_id):
            return None
        columns = [f"_{name}" for name in COORDINATES]
        silver = with_incarnation(self._rows(table, query_id, batch_id, columns))
        # Broadcast: otherwise the raw records are sorted, to be joined with a few coordinates.
        return F.broadcast(silver.select(*(F.col(f"_{name}").alias(name) for name in COORDINATES)))

    def _rows(self, table: LakeTable, query_id: str, batch_id: int, columns: Sequence[str]) -> DataFrame:
        commit = table.commit_of(f"{query_id}:{table.name}", batch_id)
        return batch_rows(self._spark, table, commit, query_id, batch_id, columns)


def is_changed() -> Column:
    """Whether a record of bronze's silver can no longer be made, by its reasons."""
    return F.array_contains("reasons", reasons.CONTRACT_CHANGED)


def utc_time(micros: int) -> datetime:
    """Microseconds since the epoch as a moment in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
