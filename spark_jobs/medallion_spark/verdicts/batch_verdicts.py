"""Makes the verdicts of a micro-batch, or reads them back from bronze."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts import reasons
from medallion_contracts.model import Dataset
from medallion_spark.lake import silver_partitions
from medallion_spark.lake.data_files import read_data_files
from medallion_spark.lake.table_rows import derive
from medallion_spark.lake.tables import StreamTables
from medallion_spark.stream import batch_balance
from medallion_spark.stream.batch_balance import LATE, REJECTED, SILVER, BatchCounts, Row
from medallion_spark.stream.options import StreamOptions
from medallion_spark.verdicts import deduplicate
from medallion_spark.verdicts.deduplicate import COORDINATES, REPEATS
from medallion_spark.verdicts.parse import Lateness, Watermarks, parse_records


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

    `records`, held in memory, are those of `parse_records` with `verdict`; `repeats` change their verdicts
    and reasons. What is the same for all is in `constants`, if it is not a column: ORIGIN's columns.
    `changed` counts the `contract_changed`.
    """

    records: DataFrame
    repeats: pa.Table
    constants: Mapping[str, pa.Scalar]
    rows: Sequence[Row]
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
        )
        verdict = F.when(F.size("reasons") > 0, REJECTED).when(F.col("is_late"), LATE).otherwise(SILVER)
        first = parsed.select("*", verdict.alias("verdict"), F.spark_partition_id().alias("task")).persist(
            StorageLevel.MEMORY_AND_DISK
        )
        rows = batch_balance.summarise(first, dataset)
        if lateness is not None:
            batch_balance.check_one_task_each(rows)
        numbers = batch_balance.count(rows)
        repeats = self._repeats(first, rows) if numbers.verdicts[SILVER] else REPEATS.empty_table()
        numbers = numbers.after_repeats(Counter(repeats["repeat"].to_pylist()))
        batch_balance.check_balance(numbers)
        constants = {
            "_query_id": pa.scalar(batch.query_id),
            "_batch_id": pa.scalar(batch.batch_id, pa.int64()),
            "ingested_at": pa.scalar(batch.clock, pa.timestamp("us", tz="UTC")),
            "contract_hash": pa.scalar(dataset.fingerprint),
        }
        return Judged(first, repeats, constants, rows, numbers)

    def _repeats(self, first: DataFrame, rows: Sequence[Row]) -> pa.Table:
        """The candidates that repeat a version: coordinates and `repeat`.

        They are fetched, so that the plans made of them do not look for them again.
        """
        dataset = self._dataset
        candidates = first.where(F.col("verdict") == SILVER).select(*COORDINATES, "fields")
        if self._options.deduplicate == "versions":
            return self._exact_repeats(candidates, rows)
        repeats = self._exact_repeats(candidates, rows)
        # One that is no silver row (a conflict) takes no other's place.
        accepted = candidates.join(
            F.broadcast(self._spark.createDataFrame(repeats)), list(COORDINATES), "left_anti"
        )
        superseded = deduplicate.find_superseded(accepted, dataset).toArrow().cast(REPEATS)
        return pa.concat_tables([repeats, superseded])

    def _exact_repeats(self, candidates: DataFrame, rows: Sequence[Row]) -> pa.Table:
        dataset, files = self._dataset, self._touched_files(rows)
        keys = self._silver(files, (dataset.key, dataset.event_time))
        hashes = deduplicate.find_suspects(candidates, keys, dataset).toArrow()
        if not len(hashes):
            return REPEATS.empty_table()
        suspects = F.broadcast(self._spark.createDataFrame(hashes))
        silver = self._silver(files, dataset.events.column_names, with_coordinates=True)
        repeats = deduplicate.find_repeats(candidates, silver, suspects, dataset)
        return repeats.toArrow().cast(REPEATS)

    def _touched_files(self, rows: Sequence[Row]) -> list[str]:
        """Silver's files, as of now, that may hold what the batch repeats."""
        names, touched = silver_partitions.touched_partitions(rows, self._dataset)
        return silver_partitions.touched_files(
            self._tables.silver.files(), names, touched, self._dataset.event_time
        )

    def _silver(
        self, files: Sequence[str], fields: Sequence[str], *, with_coordinates: bool = False
    ) -> DataFrame | None:
        """Silver's rows as records: `fields`, and the coordinates if wanted; None when there are no files."""
        if not files:
            return None
        coordinates = [f"_{name}" for name in COORDINATES] if with_coordinates else []
        layout = self._tables.silver.layout
        rows = read_data_files(self._spark, layout, files, [*coordinates, *fields])
        return rows.select(
            *(F.col(name).alias(name.removeprefix("_")) for name in coordinates),
            F.struct(*fields).alias("fields"),
        )

    def derive(self, query_id: str, batch_id: int) -> Judged:
        """The verdicts that bronze has for a batch, with the rows that today's contract makes of them."""
        table = self._tables.bronze
        stored = (
            self._spark.read.format("delta")
            .load(table.path)
            .where((F.col("_query_id") == query_id) & (F.col("_batch_id") == batch_id))
        )
        ingested = stored.agg(F.unix_micros(F.max("ingested_at")).alias("at")).collect()
        clock = utc_time(ingested[0]["at"])
        first = (
            derive(stored, self._dataset, clock, made=self._made(query_id, batch_id))
            .withColumn("task", F.lit(0))
            .persist(StorageLevel.MEMORY_AND_DISK)
        )
        rows = batch_balance.summarise(first, self._dataset)
        numbers = batch_balance.count(rows)
        batch_balance.check_balance(numbers)
        changed = first.where(is_changed()).count()
        return Judged(first, REPEATS.empty_table(), {}, rows, numbers, is_derived=True, changed=changed)

    def _made(self, query_id: str, batch_id: int) -> DataFrame | None:
        """Coordinates of the rows that silver has of the batch; None when it has not been written."""
        table = self._tables.silver
        if not table.holds(f"{query_id}:{table.name}", batch_id):
            return None
        silver = self._spark.read.format("delta").load(table.path)
        mine = silver.where((F.col("_query_id") == query_id) & (F.col("_batch_id") == batch_id))
        return mine.select(*(F.col(f"_{name}").alias(name) for name in COORDINATES))


def is_changed() -> Column:
    """Whether a record of bronze's silver can no longer be made, by its reasons."""
    return F.array_contains("reasons", reasons.CONTRACT_CHANGED)


def utc_time(micros: int) -> datetime:
    """Microseconds since the epoch as a moment in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
