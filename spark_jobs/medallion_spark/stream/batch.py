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
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime

from pyspark import inheritable_thread_target
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.model import Dataset
from medallion_spark.stream import accounting, placement
from medallion_spark.stream.accounting import DUPLICATE, LATE, REJECTED, SILVER
from medallion_spark.stream.ledger import Carried, Ledger, LedgerRow, Source
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.rows import bronze_rows, quarantine_rows, silver_rows
from medallion_spark.stream.tables import Commit, LakeTable, StreamTables
from medallion_spark.stream.verdicts import Batch, Judged, Verdicts, is_changed, moment

logger = logging.getLogger(__name__)

ROWS_A_FILE = 100_000
"""A batch of fewer rows is written as one file (for each partition of the table)."""
MANY_PARTITIONS = 64
"""From so many touched partitions on, silver's rows are brought together by partition before the write."""
MOST_NAMES = 50
"""Most reasons or unknown fields that a ledger row names."""


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
        self._verdicts = Verdicts(spark, dataset, options, tables)
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
            judged = self._verdicts.derive(self._query_id, batch_id)
        else:
            batch = Batch(self._query_id, batch_id, clock, self._carried.watermarks)
            judged = self._verdicts.judge(records, batch)
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

    def _write(self, judged: Judged, batch_id: int, clock: datetime, started: float) -> LedgerRow:
        numbers, tables = judged.numbers, self._tables
        sources = accounting.account(judged.rows, self._carried.sources, self._earliest)
        bronze = self._append(tables.bronze, self._bronze_rows(judged), batch_id, numbers.read)
        partitions = len(placement.touched_partitions(judged.rows, self._dataset)[1])
        details = inheritable_thread_target(self._spark)(self._quarantine_and_details)
        with ThreadPoolExecutor(max_workers=2) as pool:
            # Quarantine first: it is short, and the details run beside silver.
            small = pool.submit(details, judged, batch_id)
            silver = self._append(
                tables.silver,
                self._silver_rows(judged, partitions),
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
        rows = self._quarantine_rows(judged)
        table = self._tables.quarantine
        commits = [
            self._append(table, rows.where(~is_changed()), batch_id, numbers.quarantine - judged.changed),
            # On its own: a driver that died may have committed the others, by the contract of its day.
            self._append(table, rows.where(is_changed()), batch_id, judged.changed, ":contract_changed"),
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
            waits = [moment(value) for value in found[0]] if found else waits
        return commits, by_reason, unknown, waits

    def _bronze_rows(self, judged: Judged) -> DataFrame:
        frame = self._few_files(judged.records, judged.numbers.read)
        return bronze_rows(frame)

    def _quarantine_rows(self, judged: Judged) -> DataFrame:
        frame = judged.records.where(F.col("verdict").isin(LATE, REJECTED))
        rows = self._few_files(frame, judged.numbers.quarantine)
        return quarantine_rows(rows)

    def _silver_rows(self, judged: Judged, partitions: int) -> DataFrame:
        frame = judged.records.where(F.col("verdict") == SILVER)
        if partitions > MANY_PARTITIONS:
            frame = frame.repartition(*placement.silver_partition(self._dataset).values())
        else:
            frame = self._few_files(frame, judged.numbers.verdicts[SILVER])
        return silver_rows(frame, self._dataset)

    def _few_files(self, frame: DataFrame, rows: int) -> DataFrame:
        cores = self._spark.sparkContext.defaultParallelism
        return frame.coalesce(max(1, min(cores, -(-rows // ROWS_A_FILE))))


def _counts(names: DataFrame) -> dict[str, int]:
    """How often each name comes, the most frequent MOST_NAMES."""
    counted = names.groupBy("col").count().orderBy(F.desc("count"), "col").limit(MOST_NAMES)
    return {row["col"]: row["count"] for row in counted.collect()}


def _in_order(sources: Iterable[Source]) -> tuple[Source, ...]:
    return tuple(sorted(sources, key=lambda source: (source.topic, source.partition)))


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
