"""Makes silver and quarantine what bronze says, in one commit each, while nobody else writes silver.

What a kill leaves behind, and what the next run does:

| killed | there is | the next run |
|---|---|---|
| before bronze's commit (judge-again) | all as it was | judges again |
| before silver's commit | new verdicts, the old silver (or none) | changes no verdict, replaces silver |
| before quarantine's commit | both but quarantine | replaces quarantine; silver's commit is there already |

A run that is done again under its id reports what it changed in all: each table is compared as it was before
the run's first commit. An id that was used before, however long ago, is refused once the stream has written.

Silver and quarantine may be gone: they come back by the commit that fills them, so the stream, which
refuses a lake without them, never finds them empty. A batch that the stream still has to finish then keeps
the rows that the tables have of it, and gets no others: the stream adds them. A ledger that is gone is made
from bronze first.

Silver never gets a version twice (`unique_versions`), nor a record (bronze is refused then).

The lease keeps the stream away until silver is replaced. A rebuild that is killed leaves a lease that is
stale after a minute; the stop request, which whoever started the rebuild wrote, keeps the stream away until
the rebuild has been done again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.errors import StreamError
from medallion_contracts.model import INCARNATION, Dataset
from medallion_spark.lake.silver_at_contract import at_todays_contract
from medallion_spark.lake.table_rows import derive, quarantine_rows, rows_of, silver_rows
from medallion_spark.lake.tables import LakeTable, StreamTables, stream_tables
from medallion_spark.rebuild.batch_order import batch_sequences, refuse_unknown_batches
from medallion_spark.rebuild.bronze_verdicts import BronzeVerdicts
from medallion_spark.rebuild.compare import Differences, compare_rows
from medallion_spark.rebuild.replacement import Replacement, read_version
from medallion_spark.rebuild.unique_versions import (
    superseded_records,
    with_stored_hashes,
    without_superseded,
)
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream.batch_balance import LATE, REJECTED, SILVER
from medallion_spark.stream.ledger import Ledger
from medallion_spark.stream.ledger_completion import Batch, complete_ledger
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.preparation import refuse_missing
from medallion_spark.stream.recovery import unfinished_batch
from medallion_spark.verdicts.stored_records import BATCH
from medallion_store.control_files import control_files
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths
from medallion_store.lease import LEASE_STALE_SECONDS, Lease, LeaseThread

AS_JUDGED, JUDGE_AGAIN = "as-judged", "judge-again"

_SILVER_AT = ("_topic", "_partition", "_offset", INCARNATION)
_QUARANTINE_AT = ("topic", "partition", "offset", INCARNATION)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild did.

    `silver_differences` and `quarantine_differences`: how the tables that were there differed from bronze;
    `made_again`: names of the tables that were gone; `verdict_changes`: records by verdict before and after
    (judge-again).
    """

    mode: str
    records: int
    silver_rows: int
    silver_version: int
    silver_differences: Differences
    quarantine_rows: int
    quarantine_differences: Differences
    made_again: tuple[str, ...]
    verdict_changes: list[dict[str, object]]


class Rebuild:
    """One rebuild of a dataset; the same `run_id` again replaces each table only once."""

    def __init__(
        self, spark: SparkSession, dataset: Dataset, lake: LakeAccess, options: StreamOptions, run_id: str
    ) -> None:
        paths = LakePaths(lake.uri, dataset.name)
        self._spark = spark
        self._dataset = dataset
        self._options = options
        self._run = f"rebuild:{run_id}"
        self._tables: StreamTables = stream_tables(paths, dataset, lake)
        self._ledger = Ledger(paths.ledger, delta_storage_options(lake.login))
        self._lease = Lease(control_files(lake.login), paths.lease, "rebuild")
        self._replacement = Replacement(spark, self._run, self._lease.check)

    def run(self, mode: str) -> Rebuilt:
        """Do it, holding the lease on silver.

        Raises:
            LeaseError: the stream or another job writes silver; ask it to stop first.
            MissingTable: bronze is gone.
            StreamError: bronze has no rows or one of them twice, the stream's last batch is not finished, or
                the run's id has been used before.
        """
        with _held(self._lease):
            unfinished = self._prepare(mode)
            sequences = batch_sequences(self._spark, self._ledger, unfinished)
            changes: list[dict[str, object]] = []
            if mode == JUDGE_AGAIN:
                refuse_unknown_batches(self._read_bronze(), sequences)
                changes = self._bronze_verdicts(sequences).decide_again()
            return self._replace(mode, changes, sequences, unfinished)

    def _prepare(self, mode: str) -> Batch | None:
        """Make ready what is there; gives the batch that the stream still has to finish."""
        tables = self._tables
        refuse_missing(tables, self._ledger, self._dataset.name, may_lack=("silver", "quarantine", "ledger"))
        if not tables.bronze.has_rows():
            raise StreamError(f"{tables.bronze.path} is empty: there is nothing to rebuild from")
        for table in tables:
            if table.exists():
                table.prepare()  # one that is gone comes with its content
        complete_ledger(self._spark, self._dataset, tables, self._ledger)
        found = [self._replacement.found(table) for table in (tables.silver, tables.quarantine)]
        if not all(one.is_newest for one in found):
            raise StreamError(
                f"{tables.silver.path} was rebuilt by this run and written since: "
                "trigger a new run of the rebuild"
            )
        unfinished = unfinished_batch(tables.bronze, self._ledger)
        is_missing = any(one.before < 0 for one in found)
        if unfinished is not None and not (is_missing and mode == AS_JUDGED):
            # Rows of a batch that the stream still has to finish would come again when it does.
            way = "rebuild as-judged first" if is_missing else "let the stream run until that batch is done"
            raise StreamError(
                f"the stream died in batch {unfinished[1]}, which bronze has and the ledger lacks: {way}, "
                "then rebuild"
            )
        return unfinished

    def _read_bronze(self) -> DataFrame:
        return read_version(self._spark, self._tables.bronze, self._tables.bronze.version())

    def _bronze_verdicts(self, sequences: DataFrame) -> BronzeVerdicts:
        return BronzeVerdicts(
            self._spark,
            self._dataset,
            self._options,
            self._tables.bronze,
            self._run,
            sequences,
            self._lease.check,
        )

    def _replace(
        self, mode: str, changes: list[dict[str, object]], sequences: DataFrame, unfinished: Batch | None
    ) -> Rebuilt:
        dataset, tables, replacement = self._dataset, self._tables, self._replacement
        was = {table.name: replacement.as_it_was(table) for table in (tables.silver, tables.quarantine)}
        was_gone = {name: replacement.found(getattr(tables, name)).before < 0 for name in was}
        derived = derive(self._read_bronze(), dataset, datetime.now(UTC))
        # On disk: the bytes of all records are read and parsed once, and need no memory.
        judged = derived.persist(StorageLevel.DISK_ONLY)
        try:
            whole = with_stored_hashes(self._without_superseded(judged, sequences), was["quarantine"])
            counts = {row["verdict"]: row["count"] for row in whole.groupBy("verdict").count().collect()}
            silver = rows_of(
                _finished(whole, unfinished), partial(silver_rows, dataset=dataset), tables.silver.schema
            ).unionByName(_of_batch(at_todays_contract(was["silver"], dataset), unfinished))
            quarantine = rows_of(
                _finished(whole, unfinished), quarantine_rows, tables.quarantine.schema
            ).unionByName(_of_batch(was["quarantine"], unfinished))
            # Both before the first commit: what is refused leaves all as it was.
            silver_differences = self._compare(
                tables.silver, silver, at_todays_contract(was["silver"], dataset), _SILVER_AT
            )
            quarantine_differences = self._compare(
                tables.quarantine, quarantine, was["quarantine"], _QUARANTINE_AT
            )
            # A partition's rows together: one file each, however many hours there are.
            replacement.overwrite(tables.silver, silver.repartition(*dataset.silver.partitioned_by))
            if not (quarantine_differences.are_none and tables.quarantine.exists()):
                replacement.overwrite(tables.quarantine, quarantine.repartition("ingest_date"))
        finally:
            judged.unpersist()
        records = sum(counts.values())
        return Rebuilt(
            mode=mode,
            records=records,
            silver_rows=counts.get(SILVER, 0),
            silver_version=tables.silver.version(),
            silver_differences=silver_differences,
            quarantine_rows=sum(counts.get(verdict, 0) for verdict in (LATE, REJECTED)),
            quarantine_differences=quarantine_differences,
            made_again=tuple(t.name for t in (tables.silver, tables.quarantine) if was_gone[t.name]),
            verdict_changes=changes,
        )

    def _without_superseded(self, judged: DataFrame, sequences: DataFrame) -> DataFrame:
        """The records with one accepted record a version; see `unique_versions`."""
        superseded = superseded_records(judged, sequences, self._dataset).toArrow()
        if not len(superseded):
            return judged
        refuse_unknown_batches(judged, sequences)
        _log.info("%d records were accepted again later: they stay in quarantine", len(superseded))
        return without_superseded(judged, self._spark.createDataFrame(superseded), self._dataset)

    def _compare(
        self, table: LakeTable, wanted: DataFrame, present: DataFrame, at: tuple[str, ...]
    ) -> Differences:
        differences, repeated = compare_rows(wanted, present, at)
        if repeated:
            raise StreamError(
                f"{self._tables.bronze.path} holds {repeated} records more than once, for {table.name}: "
                "nothing was changed; its history names who wrote it besides the stream: restore the version "
                "before, or put the table back from a backup"
            )
        _log.info("%s was, compared with bronze: %s", table.name, differences)
        return differences


def _finished(judged: DataFrame, unfinished: Batch | None) -> DataFrame:
    """The records of batches that are done."""
    return judged if unfinished is None else judged.where(~_is_of(unfinished))


def _of_batch(rows: DataFrame, unfinished: Batch | None) -> DataFrame:
    """The rows that a table has of the unfinished batch: they stay, the stream knows of them."""
    return rows.where(F.lit(False) if unfinished is None else _is_of(unfinished))


def _is_of(batch: Batch) -> Column:
    return (F.col(BATCH[0]) == batch[0]) & (F.col(BATCH[1]) == batch[1])


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
