"""One micro-batch: judge, write bronze, then silver and quarantine, then the ledger.

Everything may be killed at any moment, and Spark then runs the batch again with the same offsets and id.
What a kill leaves behind, and what the next run does:

| killed | there is | the next run |
|---|---|---|
| before bronze's commit | nothing that a reader sees | judges again |
| after bronze, before silver or quarantine | the verdicts | derives the rest from bronze |
| between silver and quarantine | one of them | derives; the append that is there is left as it is |
| before the ledger's commit | all rows | derives, skips both appends, adds the row |
| after the ledger, before Spark's commit | everything | sees the ledger and does nothing |

However large a batch is, each table gets one commit of it: bronze's is the decision on all its records. In
between it is worked off in slices bounded in bytes, in the order of offsets within a partition: what Spark
hands to Python at a time, what a task gathers for a file. Only coordinates, hashes and counts of the whole
batch come together, on the driver. A kill in any slice is a kill before the commit: files without a commit.

A batch that is there already must be planned as it was then; a checkpoint from a backup is not. It needs none
of its records: retention may have removed them from Kafka meanwhile.

Two drivers of one query: the lease keeps the second out; should it fail, a transaction id lets only one
commit each table, and the other driver stops because the commit is not its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from pyspark.sql import DataFrame, SparkSession

from medallion_contracts.errors import StreamError
from medallion_contracts.model import Dataset
from medallion_spark.lake.tables import StreamTables
from medallion_spark.stream import batch_balance
from medallion_spark.stream.batch_balance import DUPLICATE, LATE, REJECTED, SILVER
from medallion_spark.stream.batch_writer import Written, most_frequent
from medallion_spark.stream.ledger import (
    KnownLog,
    Ledger,
    LedgerRow,
    PartitionOffsets,
    Sources,
    StreamPosition,
    position,
)
from medallion_spark.stream.log_identity import with_records
from medallion_spark.stream.log_watch import LogWatch
from medallion_spark.stream.offset_account import OffsetAccount
from medallion_spark.stream.offset_notes import SOURCES_NOTE, accounted_before, note_of
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.planned_offsets import Plan
from medallion_spark.stream.table_writes import TableWrites, app_id
from medallion_spark.stream.topic_log import TopicLog, Where
from medallion_spark.verdicts.batch_verdicts import Batch, Judged, Verdicts, utc_time

logger = logging.getLogger(__name__)


class MicroBatches:
    """Processes the micro-batches of one query, one at a time, in order.

    Args:
        spark: the session.
        dataset: its contracts.
        options: what the job was asked.
        tables: prepared.
        ledger: prepared.
        query_id: of Spark's checkpoint.
        log: what the broker says of the topics' logs.
        plan: gives the offsets planned for a batch, by its id and the partitions that the ledger has; None
            when that is not known.
        guard: called right before each commit; raises when this driver may not write (any more).
        watch: the logs that are read, looked at before a batch is decided; None when no log is read.
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
        log: TopicLog,
        plan: Callable[[int, Collection[Where]], Plan | None],
        guard: Callable[[], None],
        watch: LogWatch | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._spark = spark
        self._dataset = dataset
        self._verdicts = Verdicts(spark, dataset, options, tables)
        self._tables = tables
        self._ledger = ledger
        self._guard = guard
        self._query_id = query_id
        self._offsets = OffsetAccount(log, may_lose=options.on_data_loss == "count")
        self._plan = plan
        self._clock = clock
        self._writes = TableWrites(spark, dataset, tables, query_id, guard, self._verdicts.remember)
        self._carried: StreamPosition = ledger.carried()
        self._last_batch = ledger.last_batch(query_id)
        self._watch = watch

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
            self._refuse_others(until, batch_id, is_older=batch_id < self._last_batch)
            logger.info("batch %d is in the ledger already", batch_id)
            return None
        started, clock = time.monotonic(), self._clock()
        if self._tables.bronze.holds(app_id(self._query_id, self._tables.bronze), batch_id):
            judged = self._verdicts.derive(self._query_id, batch_id)
            accounted = self._accounted(batch_id)
            self._refuse_others(_ends(judged, accounted), batch_id)
        else:
            incarnations = {topic: log.incarnation for topic, log in self._logs.items()}
            batch = Batch(self._query_id, batch_id, clock, self._carried.watermarks, incarnations)
            judged, accounted = self._verdicts.judge(records, batch), {}
        try:
            sources = accounted or self._account(judged, batch_id)
            if all(source.from_offset == source.until_offset for source in sources.values()):
                return None  # the first batch of topics without records
            row = self._write(judged, sources, batch_id, clock, started)
        finally:
            judged.release()
        self._guard()
        self._ledger.append(row)
        logs = {log.topic: log for log in row.logs}
        self._carried = position(row.sequence, row.sources, logs, row.query_id)
        self._last_batch = batch_id
        logger.info("%s", _line(row))
        return row

    def _accounted(self, batch_id: int) -> Sources:
        """What was noted of the offsets when bronze took the batch in, if it fits the ledger."""
        bronze = self._tables.bronze
        note = bronze.note(app_id(self._query_id, bronze), batch_id, SOURCES_NOTE)
        return accounted_before(note, self._carried.sources) if note else {}

    def _account(self, judged: Judged, batch_id: int) -> Sources:
        carried = self._carried.sources

        def holes(where: Where) -> list[range]:
            return batch_balance.find_holes(judged.records, where)

        plan = self._plan(batch_id, carried)
        rows = judged.summary.sources
        return self._offsets.account(rows, carried, plan, holes, is_derived=judged.is_derived)

    def _refuse_others(self, until: Mapping[Where, int], batch_id: int, *, is_older: bool = False) -> None:
        """A batch that is run again brings the records it brought before: it is recognised by its id alone.

        A checkpoint from a backup, or one that lost its offsets, counts from an older id and plans other
        ranges: taken for done, their records would be lost. What is planned is compared, and nothing read.
        """
        plan = self._plan(batch_id, until) or {}
        beyond = {where: range(until.get(where, its.start), its.stop) for where, its in plan.items()}
        others = [
            f"{topic}-{partition}"
            for (topic, partition), offsets in sorted(beyond.items())
            # Where a batch ends with a transaction's marker, a plan may go beyond its last record.
            if offsets and self._offsets.refuse_records((topic, partition), offsets) is not None
        ]
        if others or is_older:
            what = f" and brings records of {', '.join(others)} that no batch has taken in" if others else ""
            raise StreamError(
                f"batch {batch_id} is done already{what}: Spark's checkpoint is older than the ledger (from "
                "a backup, or in part deleted); move it away and start with --recover-from-ledger"
            )

    @property
    def _logs(self) -> Mapping[str, KnownLog]:
        """The logs that this batch is read of."""
        return self._carried.logs if self._watch is None else self._watch.logs

    def _with_records(self, sources: Sources, written: Written) -> dict[Where, PartitionOffsets]:
        incarnations = {topic: log.incarnation for topic, log in self._logs.items()}
        ends = self._watch.ends if self._watch else {}
        return with_records(sources, self._carried.sources, written.last, ends, incarnations)

    def _write(
        self, judged: Judged, accounted: Sources, batch_id: int, clock: datetime, started: float
    ) -> LedgerRow:
        numbers = judged.numbers

        def confirm(written: Written) -> None:
            if self._watch is not None and not judged.is_derived:  # bronze's records were confirmed before
                self._watch.confirm(self._with_records(accounted, written))

        notes = {SOURCES_NOTE: note_of(accounted)}
        written, commits = self._writes.append_all(judged, batch_id, notes, confirm)
        sources = self._with_records(accounted, written)
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
            compacted=sum(source.compacted for source in sources.values()),
            rejected_by_reason=most_frequent(written.by_reason),
            unknown_fields=most_frequent(written.unknown),
            with_unknown_fields=numbers.with_unknown,
            key_mismatch=numbers.key_mismatch,
            commits=tuple(asdict(commit) for commit in commits),
            event_to_silver_p50=p50,
            event_to_silver_p95=p95,
            event_to_silver_max=longest,
            logs=tuple(log for _, log in sorted(self._logs.items())),
        )


def _ends(judged: Judged, accounted: Sources) -> dict[Where, int]:
    """Where a batch of bronze ends in each partition: with its last record, unless more is known."""
    rows = sorted(judged.summary.sources, key=lambda row: int(row["largest_offset"]))
    last = {(row["topic"], row["partition"]): row["largest_offset"] + 1 for row in rows}
    return {**last, **{where: source.until_offset for where, source in accounted.items()}}


def _in_order(sources: Iterable[PartitionOffsets]) -> tuple[PartitionOffsets, ...]:
    return tuple(sorted(sources, key=lambda source: (source.topic, source.partition)))


def _wait(arrival: int | None, until: datetime) -> float | None:
    # A producer's clock may be ahead of ours.
    return None if arrival is None else max(0.0, (until - utc_time(arrival)).total_seconds())


def _line(row: LedgerRow) -> str:
    waits = f"{row.event_to_silver_p95:.1f} s" if row.event_to_silver_p95 is not None else "-"
    reasons_ = ", ".join(f"{reason} {n}" for reason, n in row.rejected_by_reason.items())
    return (
        f"batch {row.batch_id}: read {row.read} = silver {row.silver} + duplicate {row.duplicate} "
        f"+ late {row.late} + rejected {row.rejected}{f' ({reasons_})' if reasons_ else ''}"
        f"{', from bronze' if row.is_derived else ''} in {row.duration_seconds:.1f} s; "
        f"event to silver p95 {waits}; gaps {row.gaps}, compacted {row.compacted}, lost {row.lost}"
    )
