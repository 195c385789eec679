"""One micro-batch: judge, write bronze, then silver and quarantine, then the ledger.

Everything may be killed at any moment, and Spark then runs the batch again with the same offsets and id.
What a kill leaves behind, and what the next run does:

| killed | there is | the next run |
|---|---|---|
| before bronze's commit | nothing that a reader sees | judges anew |
| after bronze, before silver or quarantine | the verdicts | derives the rest from bronze |
| between silver and quarantine | one of them | derives; the append that is there is left as it is |
| before the ledger's commit | all rows | derives, skips both appends, adds the row |
| after the ledger, before Spark's commit | everything | sees the ledger and does nothing |

Two drivers of one query: the lease keeps the second out; should it fail, a transaction id lets only one
commit each table, and the other driver stops because the commit is not its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from pyspark import StorageLevel, inheritable_thread_target
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts import reasons
from medallion_contracts.model import Dataset
from medallion_spark.stream import accounting, deduplicate, placement
from medallion_spark.stream.accounting import DUPLICATE, LATE, REJECTED, SILVER, Numbers, Row
from medallion_spark.stream.ledger import Carried, Ledger, LedgerRow, Source
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.parsing import Lateness, parse_records
from medallion_spark.stream.rows import Origin, bronze_rows, derive, quarantine_rows, silver_rows
from medallion_spark.stream.tables import Commit, LakeTable, StreamTables

logger = logging.getLogger(__name__)

ROWS_A_FILE = 100_000
"""A batch of fewer rows is written as one file (for each partition of the table)."""
MANY_PARTITIONS = 64
"""From so many touched partitions on, silver's rows are brought together by partition before the write."""
MOST_NAMES = 50
"""Most reasons or unknown fields that a ledger row names."""


@dataclass
class Judged:
    """A micro-batch with its verdicts.

    `records` are those of `parse_records` with `verdict` and the final `reasons`; `kept` are held in memory;
    `changed` counts the `contract_changed`.
    """

    records: DataFrame
    rows: Sequence[Row]
    numbers: Numbers
    clock: datetime
    is_derived: bool
    kept: tuple[DataFrame, ...]
    changed: int = 0

    def release(self) -> None:
        """Free the memory."""
        for frame in self.kept:
            frame.unpersist()


class MicroBatches:
    """Processes the micro-batches of one query, one at a time, in order.

    Args:
        spark: the session.
        dataset: its contracts.
        options: what the job was asked.
        tables: prepared.
        ledger: prepared.
        query_id: of Spark's checkpoint.
        earliest: first offsets that the broker has, by partition of a topic.
        guard: called right before each commit; raises when this driver may not write (any more).
        clock: gives the time, UTC.
    """

    def __init__(
        self,
        spark: SparkSession,
        dataset: Dataset,
        options: StreamOptions,
        tables: StreamTables,
        ledger: Ledger,
        query_id: str,
        *,
        earliest: Callable[[str], Mapping[int, int]],
        guard: Callable[[], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._spark = spark
        self._dataset = dataset
        self._options = options
        self._tables = tables
        self._ledger = ledger
        self._query_id = query_id
        self._earliest = earliest
        self._guard = guard
        self._clock = clock
        self._carried: Carried = ledger.carried()
        self._last_batch = ledger.last_batch(query_id)

    def process(self, records: DataFrame, batch_id: int) -> LedgerRow | None:
        """Carry one micro-batch to the lake; a batch that the ledger has is done.

        Args:
            records: columns of RECORD_COLUMNS, straight from the source.
            batch_id: Spark's.

        Returns:
            its ledger row, or None when nothing was to do.

        Raises:
            BalanceError: counts do not add up; the ledger has no row and the checkpoint has not moved.
            StreamError: this driver may not write, or the records cannot be judged.
        """
        if self._last_batch is not None and batch_id <= self._last_batch:
            logger.info("batch %d is in the ledger already", batch_id)
            return None
        started, clock = time.monotonic(), self._clock()
        if self._tables.bronze.holds(self._app_id(self._tables.bronze), batch_id):
            judged = self._derive(batch_id)
        else:
            judged = self._judge(records, clock)
        try:
            if judged.numbers.read == 0:
                return None  # offsets without records: the next batch counts them
            row = self._write(judged, batch_id, clock, started)
        finally:
            judged.release()
        self._ledger.append(row)
        self._carried = Carried(row.sequence, {(s.topic, s.partition): s for s in row.sources})
        self._last_batch = batch_id
        logger.info("%s", _line(row))
        return row

    def _app_id(self, table: LakeTable) -> str:
        return f"{self._query_id}:{table.name}"

    # --- verdicts ------------------------------------------------------------------------------------------
    def _judge(self, records: DataFrame, clock: datetime) -> Judged:
        """Verdicts for a batch that bronze does not have."""
        dataset, options = self._dataset, self._options
        lateness = None
        if options.lateness == "judge":
            lateness = Lateness(dataset.topic, options.allowed_lateness, self._carried.watermarks)
        parsed = parse_records(
            records, dataset, clock=clock, lateness=lateness, reject_unknown=options.reject_unknown_fields
        )
        verdict = F.when(F.size("reasons") > 0, REJECTED).when(F.col("is_late"), LATE).otherwise(SILVER)
        first = parsed.select("*", verdict.alias("verdict"), F.spark_partition_id().alias("task")).persist(
            StorageLevel.MEMORY_AND_DISK
        )
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
        return Judged(judged, rows, numbers, clock, False, tuple(kept))

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

    def _derive(self, batch_id: int) -> Judged:
        """The verdicts that bronze has for a batch, with the rows that today's contract makes of them."""
        table = self._tables.bronze
        stored = (
            self._spark.read.format("delta")
            .load(table.path)
            .where((F.col("_query_id") == self._query_id) & (F.col("_batch_id") == batch_id))
        )
        ingested = stored.agg(F.unix_micros(F.max("ingested_at")).alias("at")).collect()
        clock = _moment(ingested[0]["at"])
        first = (
            derive(stored, self._dataset, clock, made=self._made(batch_id))
            .withColumn("task", F.lit(0))
            .persist(StorageLevel.MEMORY_AND_DISK)
        )
        rows = accounting.summarise(first, self._dataset)
        numbers = accounting.count(rows)
        accounting.check_balance(numbers)
        changed = first.where(_is_changed()).count()
        return Judged(first, rows, numbers, clock, True, (first,), changed)

    def _made(self, batch_id: int) -> DataFrame | None:
        """Coordinates of the rows that silver has of the batch; None when it has not been written."""
        table = self._tables.silver
        if not table.holds(self._app_id(table), batch_id):
            return None
        silver = self._spark.read.format("delta").load(table.path)
        mine = silver.where((F.col("_query_id") == self._query_id) & (F.col("_batch_id") == batch_id))
        return mine.select(*(F.col(f"_{name}").alias(name) for name in deduplicate.COORDINATES))

    # --- writes --------------------------------------------------------------------------------------------
    def _write(self, judged: Judged, batch_id: int, clock: datetime, started: float) -> LedgerRow:
        numbers, tables = judged.numbers, self._tables
        sources = accounting.account(judged.rows, self._carried.sources, self._earliest)
        bronze = self._append(tables.bronze, self._bronze_rows(judged, batch_id), batch_id, numbers.read)
        partitions = len(placement.touched_partitions(judged.rows, self._dataset)[1])
        with ThreadPoolExecutor(max_workers=2) as pool:
            # Quarantine first: it is short, and the details run beside silver.
            small = pool.submit(inheritable_thread_target(self._quarantine_and_details), judged, batch_id)
            silver = self._append(
                tables.silver,
                self._silver_rows(judged, batch_id, partitions),
                batch_id,
                numbers.verdicts[SILVER],
            )
            silver_at = self._clock()
            quarantine, by_reason, unknown, waits = small.result()
        commits = [commit for commit in (bronze, silver, *quarantine) if commit is not None]
        p50, p95, longest = (None if moment is None else _seconds(moment, silver_at) for moment in waits)
        return LedgerRow(
            sequence=self._carried.sequence + 1,
            query_id=self._query_id,
            batch_id=batch_id,
            contract_hash=self._dataset.fingerprint,
            started_at=clock,
            committed_at=self._clock(),
            duration_seconds=time.monotonic() - started,
            is_derived=judged.is_derived,
            sources=_in_order(sources.values()),
            read=numbers.read,
            silver=numbers.verdicts[SILVER],
            duplicate=numbers.verdicts[DUPLICATE],
            late=numbers.verdicts[LATE],
            rejected=numbers.verdicts[REJECTED],
            gaps=sum(source.gaps for source in sources.values()),
            lost=sum(source.lost for source in sources.values()),
            rejected_by_reason=by_reason,
            unknown_fields=unknown,
            with_unknown_fields=numbers.with_unknown,
            key_mismatch=numbers.key_mismatch,
            commits=tuple(asdict(commit) for commit in commits),
            event_to_silver_p50=p50,
            event_to_silver_p95=p95,
            event_to_silver_max=longest,
        )

    def _append(
        self, table: LakeTable, rows: DataFrame, batch_id: int, expected: int, part: str = ""
    ) -> Commit | None:
        """Append a batch's rows, or a `part` of them on its own; none make no commit."""
        if not expected:
            return None
        self._guard()
        commit = table.append(rows, self._app_id(table) + part, batch_id)
        accounting.check_committed(table.name, commit.rows, expected)
        return commit

    def _quarantine_and_details(
        self, judged: Judged, batch_id: int
    ) -> tuple[list[Commit | None], dict[str, int], dict[str, int], list[datetime | None]]:
        numbers, records = judged.numbers, judged.records
        # A pool of its own: jobs of one pool wait for each other.
        self._spark.sparkContext.setLocalProperty("spark.scheduler.pool", "details")
        rows = self._quarantine_rows(judged, batch_id)
        table = self._tables.quarantine
        commits = [
            self._append(table, rows.where(~_is_changed()), batch_id, numbers.quarantine - judged.changed),
            # On its own: a driver that died may have committed the others, by the contract of its day.
            self._append(table, rows.where(_is_changed()), batch_id, judged.changed, ":contract_changed"),
        ]
        rejected = records.where(F.col("verdict") == REJECTED)
        by_reason = _counts(rejected.select(F.explode("reasons"))) if numbers.verdicts[REJECTED] else {}
        unknown = _counts(records.select(F.explode("unknown"))) if numbers.with_unknown else {}
        waits: list[datetime | None] = [None, None, None]
        if numbers.verdicts[SILVER]:
            # The longest waits belong to the earliest timestamps.
            micros = F.unix_micros("timestamp")
            asked = F.percentile_approx(micros, F.array(F.lit(0.5), F.lit(0.05), F.lit(0.0)), 1000)
            found = records.where(F.col("verdict") == SILVER).agg(asked).first()
            waits = [_moment(value) for value in found[0]] if found else waits
        return commits, by_reason, unknown, waits

    def _bronze_rows(self, judged: Judged, batch_id: int) -> DataFrame:
        frame = self._few_files(judged.records, judged.numbers.read)
        return bronze_rows(frame, self._origin(judged, batch_id))

    def _quarantine_rows(self, judged: Judged, batch_id: int) -> DataFrame:
        frame = judged.records.where(F.col("verdict").isin(LATE, REJECTED))
        rows = self._few_files(frame, judged.numbers.quarantine)
        return quarantine_rows(rows, self._origin(judged, batch_id))

    def _silver_rows(self, judged: Judged, batch_id: int, partitions: int) -> DataFrame:
        frame = judged.records.where(F.col("verdict") == SILVER)
        if partitions > MANY_PARTITIONS:
            frame = frame.repartition(*placement.silver_partition(self._dataset).values())
        else:
            frame = self._few_files(frame, judged.numbers.verdicts[SILVER])
        return silver_rows(frame, self._dataset, self._origin(judged, batch_id))

    def _few_files(self, frame: DataFrame, rows: int) -> DataFrame:
        cores = self._spark.sparkContext.defaultParallelism
        return frame.coalesce(max(1, min(cores, -(-rows // ROWS_A_FILE))))

    def _origin(self, judged: Judged, batch_id: int) -> Origin:
        return Origin(
            query_id=F.lit(self._query_id),
            batch_id=F.lit(batch_id),
            clock=F.lit(judged.clock),
            contract_hash=F.lit(self._dataset.fingerprint),
        )


def _is_changed() -> Column:
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


def _counts(names: DataFrame) -> dict[str, int]:
    """How often each name comes, the most frequent MOST_NAMES."""
    counted = names.groupBy("col").count().orderBy(F.desc("count"), "col").limit(MOST_NAMES)
    return {row["col"]: row["count"] for row in counted.collect()}


def _in_order(sources: Iterable[Source]) -> tuple[Source, ...]:
    return tuple(sorted(sources, key=lambda source: (source.topic, source.partition)))


def _moment(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def _seconds(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()


def _line(row: LedgerRow) -> str:
    waits = f"{row.event_to_silver_p95:.1f} s" if row.event_to_silver_p95 is not None else "-"
    reasons_ = ", ".join(f"{reason} {n}" for reason, n in row.rejected_by_reason.items())
    return (
        f"batch {row.batch_id}: read {row.read} = silver {row.silver} + duplicate {row.duplicate} "
        f"+ late {row.late} + rejected {row.rejected}{f' ({reasons_})' if reasons_ else ''}"
        f"{', from bronze' if row.is_derived else ''} in {row.duration_seconds:.1f} s; "
        f"event to silver p95 {waits}; gaps {row.gaps}, lost {row.lost}"
    )
