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

A batch that is there already must bring the records it brought then; a checkpoint from a backup does not.

Two drivers of one query: the lease keeps the second out; should it fail, a transaction id lets only one
commit each table, and the other driver stops because the commit is not its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts import reasons
from medallion_contracts.errors import StreamError
from medallion_contracts.model import Dataset
from medallion_spark.lake import silver_partitions
from medallion_spark.lake.data_files import DataFile
from medallion_spark.lake.table_rows import bronze_rows, quarantine_rows, silver_rows
from medallion_spark.lake.tables import Commit, LakeTable, StreamTables
from medallion_spark.stream import batch_balance
from medallion_spark.stream.batch_balance import DUPLICATE, LATE, REJECTED, SILVER
from medallion_spark.stream.batch_writer import MOST_NAMES, TableRows, Written, write_batch_files
from medallion_spark.stream.ledger import Ledger, LedgerRow, PartitionOffsets, StreamPosition
from medallion_spark.stream.options import StreamOptions
from medallion_spark.verdicts.batch_verdicts import Batch, Judged, Verdicts, utc_time

logger = logging.getLogger(__name__)

ROWS_A_FILE = 100_000
"""A batch of fewer rows is written as one file (for each partition of the table)."""
MANY_PARTITIONS = 64
"""From so many touched partitions on, silver's rows are brought together by partition before the write."""


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
        self._carried: StreamPosition = ledger.carried()
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
            StreamError: this driver may not write, the records cannot be judged, or Spark's checkpoint is
                older than the ledger.
        """
        if self._last_batch is not None and batch_id <= self._last_batch:
            until = {where: source.until_offset for where, source in self._carried.sources.items()}
            _refuse_others(records, until, batch_id, is_older=batch_id < self._last_batch)
            logger.info("batch %d is in the ledger already", batch_id)
            return None
        started, clock = time.monotonic(), self._clock()
        if self._tables.bronze.holds(self._app_id(self._tables.bronze), batch_id):
            judged = self._verdicts.derive(self._query_id, batch_id)
            held = [((row["topic"], row["partition"]), row["largest_offset"] + 1) for row in judged.rows]
            _refuse_others(records, dict(sorted(held)), batch_id)
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
        self._carried = StreamPosition(row.sequence, {(s.topic, s.partition): s for s in row.sources})
        self._last_batch = batch_id
        logger.info("%s", _line(row))
        return row

    def _app_id(self, table: LakeTable) -> str:
        return f"{self._query_id}:{table.name}"

    def _write(self, judged: Judged, batch_id: int, clock: datetime, started: float) -> LedgerRow:
        numbers = judged.numbers
        sources = batch_balance.account(judged.rows, self._carried.sources, self._earliest)
        written, commits = self._append_all(judged, batch_id)
        silver_at = self._clock()
        # The longest waits belong to the earliest arrivals.
        p50, p95, longest = (_wait(written.arrival(share), silver_at) for share in (0.5, 0.05, 0.0))
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
            rejected_by_reason=_most_frequent(written.by_reason),
            unknown_fields=_most_frequent(written.unknown),
            with_unknown_fields=numbers.with_unknown,
            key_mismatch=numbers.key_mismatch,
            commits=tuple(asdict(commit) for commit in commits),
            event_to_silver_p50=p50,
            event_to_silver_p95=p95,
            event_to_silver_max=longest,
        )

    def _append_all(self, judged: Judged, batch_id: int) -> tuple[Written, list[Commit]]:
        """The batch's rows in all tables: files written together, committed one table after the other."""
        parts = [part for part in self._parts(judged) if part.expected]
        missing = [part for part in parts if not part.table.holds(part.app_id, batch_id)]
        written = self._write_files(judged, missing)
        return written, [self._append(part, written.files.get(part.name), batch_id) for part in parts]

    def _parts(self, judged: Judged) -> list[_TableWrite]:
        """In the order of their commits."""
        tables, numbers = self._tables, judged.numbers
        app_ids = {
            table.name: self._app_id(table) for table in (tables.bronze, tables.silver, tables.quarantine)
        }
        quarantine = app_ids["quarantine"]
        return [
            _TableWrite("bronze", tables.bronze, app_ids["bronze"], bronze_rows, numbers.read),
            _TableWrite(
                "silver",
                tables.silver,
                app_ids["silver"],
                partial(silver_rows, dataset=self._dataset),
                numbers.verdicts[SILVER],
            ),
            _TableWrite(
                "quarantine",
                tables.quarantine,
                quarantine,
                partial(_quarantine, changed=False),
                numbers.quarantine - judged.changed,
            ),
            # On its own: a driver that died may have committed the others, by the contract of its day.
            _TableWrite(
                "changed",
                tables.quarantine,
                f"{quarantine}:contract_changed",
                partial(_quarantine, changed=True),
                judged.changed,
            ),
        ]

    def _write_files(self, judged: Judged, parts: Sequence[_TableWrite]) -> Written:
        """The data files of the parts, in one pass over the records (two for a history of many hours)."""
        partitions = len(silver_partitions.touched_partitions(judged.rows, self._dataset)[1])
        apart = [part for part in parts if part.name == "silver" and partitions > MANY_PARTITIONS]
        together = [part for part in parts if part not in apart]
        cores = self._spark.sparkContext.defaultParallelism
        few = max(1, min(cores, -(-judged.numbers.read // ROWS_A_FILE)))
        written = _pass(judged, judged.records.coalesce(few), together)
        if apart:
            # A partition's rows come together, so that each has one file.
            hours = silver_partitions.silver_partition(self._dataset).values()
            records = judged.records.where(F.col("verdict") == SILVER).repartition(*hours)
            written.files |= _pass(judged, records, apart).files
        return written

    def _append(self, part: _TableWrite, files: Sequence[DataFile] | None, batch_id: int) -> Commit:
        """Commit a part's files; None were needed when a driver that died had committed it."""
        if files is None:
            commit = part.table.committed(part.app_id, batch_id)
        else:
            written = sum(file.rows for file in files)
            batch_balance.check_written(part.table.name, written, part.expected)
            self._guard()
            commit = part.table.append(files, part.app_id, batch_id)
        batch_balance.check_written(part.table.name, commit.rows, part.expected)
        return commit


@dataclass(frozen=True)
class _TableWrite:
    """What a batch adds to a table by one commit, `expected` rows."""

    name: str
    table: LakeTable
    app_id: str
    rows_of: Callable[[pa.Table], pa.Table]
    expected: int


def _pass(judged: Judged, records: DataFrame, parts: Sequence[_TableWrite]) -> Written:
    tables = {part.name: TableRows(part.table.layout, part.rows_of) for part in parts}
    largest = max(row["largest_bytes"] for row in judged.rows)
    return write_batch_files(
        records, tables, repeats=judged.repeats, constants=judged.constants, largest=max(1, largest)
    )


def _refuse_others(
    records: DataFrame, until: Mapping[tuple[str, int], int], batch_id: int, *, is_older: bool = False
) -> None:
    """A batch that is run again brings the records it brought before: it is recognised by its id alone.

    A checkpoint from a backup, or one that lost its offsets, counts from an older id and plans other ranges:
    taken for done, their records would be lost.
    """
    if "offset" not in records.columns:
        return  # a recovery: it reads none
    largest = records.groupBy("topic", "partition").agg(F.max("offset").alias("last")).collect()
    others = [f"{row[0]}-{row[1]}" for row in largest if row["last"] >= until.get((row[0], row[1]), 0)]
    if others or is_older:
        what = (
            f" and brings records of {', '.join(sorted(others))} that no batch has taken in" if others else ""
        )
        raise StreamError(
            f"batch {batch_id} is done already{what}: Spark's checkpoint is older than the ledger (from a "
            "backup, or in part deleted); move it away and start with --recover-from-ledger"
        )


def _quarantine(judged: pa.Table, *, changed: bool) -> pa.Table:
    rows = quarantine_rows(judged)
    is_here = [(reasons.CONTRACT_CHANGED in found) == changed for found in rows["reasons"].to_pylist()]
    return rows.filter(pa.array(is_here, pa.bool_()))


def _most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent MOST_NAMES, in order."""
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:MOST_NAMES])


def _in_order(sources: Iterable[PartitionOffsets]) -> tuple[PartitionOffsets, ...]:
    return tuple(sorted(sources, key=lambda source: (source.topic, source.partition)))


def _wait(arrival: int | None, until: datetime) -> float | None:
    return None if arrival is None else (until - utc_time(arrival)).total_seconds()


def _line(row: LedgerRow) -> str:
    waits = f"{row.event_to_silver_p95:.1f} s" if row.event_to_silver_p95 is not None else "-"
    reasons_ = ", ".join(f"{reason} {n}" for reason, n in row.rejected_by_reason.items())
    return (
        f"batch {row.batch_id}: read {row.read} = silver {row.silver} + duplicate {row.duplicate} "
        f"+ late {row.late} + rejected {row.rejected}{f' ({reasons_})' if reasons_ else ''}"
        f"{', from bronze' if row.is_derived else ''} in {row.duration_seconds:.1f} s; "
        f"event to silver p95 {waits}; gaps {row.gaps}, lost {row.lost}"
    )
