"""What the stream does before its query: checks, an accepted log, a recovery; then where the query begins."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from pyspark.sql import SparkSession

from medallion_contracts.errors import StreamError
from medallion_contracts.model import Dataset
from medallion_spark.lake.tables import StreamTables
from medallion_spark.stream.batch import MicroBatches
from medallion_spark.stream.checkpoint import Checkpoint, CheckpointFolder
from medallion_spark.stream.last_records import Partition
from medallion_spark.stream.ledger import ACCEPTED, Ledger
from medallion_spark.stream.ledger_commits import newest_commit_up_to, newest_commits
from medallion_spark.stream.log_acceptance import DeletedLog, acceptance_row, are_accepted
from medallion_spark.stream.log_identity import LogChange, refuse
from medallion_spark.stream.log_reader import LogReader
from medallion_spark.stream.log_watch import LogWatch
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.recovery import fence, is_fenced, last_query, offsets_after, recover
from medallion_spark.stream.source import KafkaAccess
from medallion_spark.stream.startup_checks import (
    RECOVER,
    checkpoint_problem,
    damaged_tables,
    is_rebuilt_after,
    table_remedy,
    unproven_holes,
)
from medallion_spark.stream.stored_records import stored_last_records
from medallion_spark.stream.topic_log import TopicLog
from medallion_store.control_files import ControlFiles
from medallion_store.lake_paths import LakePaths

logger = logging.getLogger(__name__)

StartingOffsets = Mapping[str, Mapping[str, int]]
"""By topic and partition, as Spark's startingOffsets wants them."""


@dataclass
class StartUp:
    """The steps before the query.

    `tables` and `ledger` are prepared, the lease is held. `batches_of` gives the micro-batches of a query, by
    what a log says that is not the broker's; `last_seen` are the ends of partitions that an earlier driver
    saw.
    """

    spark: SparkSession
    dataset: Dataset
    kafka: KafkaAccess
    options: StreamOptions
    paths: LakePaths
    files: ControlFiles
    tables: StreamTables
    ledger: Ledger
    batches_of: Callable[[str, TopicLog | None], MicroBatches]
    last_seen: Mapping[Partition, int]

    def __post_init__(self) -> None:
        self._reader = LogReader(self.spark, self.kafka)
        self._checkpoint = CheckpointFolder(self.spark, self.paths.checkpoint)

    def run(self) -> tuple[LogWatch, StartingOffsets | None]:
        """The logs to be read, and where the query begins; None when Spark's checkpoint (or nothing) says it.

        Raises:
            OtherLogError: a topic has another log than the one that was read.
            ServiceUnavailable: the broker does not answer.
            StreamError: tables, ledger and checkpoint do not fit; names what to do.
        """
        try:
            self._check_tables()
            watch = self._open_logs()
            return watch, self._starting_offsets()
        except BaseException:
            self._reader.close()
            raise

    # --- tables --------------------------------------------------------------------------------------------
    def _check_tables(self) -> None:
        damaged = damaged_tables(self.tables, self.ledger)
        if list(damaged) == ["bronze"] and self.options.recover_from_ledger and self._is_rebuilt():
            self._forget_what_bronze_lost()
            damaged = damaged_tables(self.tables, self.ledger)
        if damaged:
            raise StreamError(table_remedy(damaged, self.dataset.name))

    def _is_rebuilt(self) -> bool:
        """Whether silver was made from bronze after the ledger's newest batch."""
        since = max(one.committed_at for one in newest_commits(self.ledger).values())
        return is_rebuilt_after(self.tables.silver, since)

    def _forget_what_bronze_lost(self) -> None:
        """Silver is what bronze is: the ledger goes back to it too, and the records are read again."""
        version = self.tables.bronze.version()
        kept = newest_commit_up_to(self.ledger, "bronze", version)
        sequence = 0 if kept is None else kept.sequence
        logger.warning("batches after sequence %d are not in bronze: they are read again", sequence)
        self.ledger.forget_after(sequence)

    # --- logs ----------------------------------------------------------------------------------------------
    def _open_logs(self) -> LogWatch:
        watch = self._new_watch()
        changes = self._changes(watch)
        if changes and are_accepted(changes, self.files.read(self.paths.accept_log_request)):
            self._accept(changes)
            watch = self._new_watch()
            changes = self._changes(watch)
        refuse(changes, self.dataset.name)
        for path in (self.paths.other_log, self.paths.accept_log_request):
            if self.files.read(path) is not None:
                self.files.delete(path)
        return watch

    def _new_watch(self) -> LogWatch:
        return LogWatch(self._reader, self._topics, self.dataset.name)

    def _changes(self, watch: LogWatch) -> list[LogChange]:
        return watch.find_changes(self.ledger.carried(), partial(stored_last_records, self.tables.bronze))

    def _accept(self, changes: list[LogChange]) -> None:
        """See `log_acceptance` for the steps."""
        if last_query(self.tables.bronze, self.ledger) is not None:
            gone = DeletedLog([*self.ledger.carried().sources, *self.last_seen])
            recover(self.spark, self.tables, self.ledger, lambda query_id: self.batches_of(query_id, gone))
        checkpoint = self._checkpoint.read()
        if checkpoint is not None:
            fence(self.tables, checkpoint.query_id)
        row = acceptance_row(
            self.ledger.carried(), changes, self.last_seen, self._begins(changes), self.dataset.fingerprint
        )
        self.ledger.append(row)
        logger.warning(
            "accepted: %s", ", ".join(f"{log.topic} incarnation {log.incarnation}" for log in row.logs)
        )

    def _begins(self, changes: list[LogChange]) -> Mapping[Partition, int]:
        topics = self._reader.describe([change.known.topic for change in changes])
        return self._reader.begins([where for one in topics.values() for where in one.partitions])

    # --- offsets -------------------------------------------------------------------------------------------
    def _starting_offsets(self) -> StartingOffsets | None:
        checkpoint = self._valid_checkpoint()
        # A driver killed right after it recovered leaves a checkpoint without offsets: look once more.
        if checkpoint is not None and self.ledger.last_batch(checkpoint.query_id) is not None:
            return None
        has_batches = last_query(self.tables.bronze, self.ledger) is not None
        is_accepted = self.ledger.carried().query_id.startswith(ACCEPTED)
        if checkpoint is None and self.options.recover_from_ledger and has_batches:
            recover(self.spark, self.tables, self.ledger, lambda query_id: self.batches_of(query_id, None))
        elif checkpoint is None and has_batches and not is_accepted:
            raise StreamError(
                f"{self.paths.checkpoint} is gone, but {self.paths.bronze} has records: reading the topics "
                "from their beginning would take them twice; start with --recover-from-ledger "
                f"({RECOVER.format(dataset=self.dataset.name)})"
            )
        carried = self.ledger.carried()
        if not carried.sources:
            return None
        return offsets_after(carried, self._partitions())

    def _partitions(self) -> Mapping[str, Collection[int]]:
        described = self._reader.describe(self._topics)
        return {topic: [number for _, number in one.partitions] for topic, one in described.items()}

    def _valid_checkpoint(self) -> Checkpoint | None:
        """The checkpoint, if the stream goes on by it; one that is replaced is moved away.

        Raises:
            StreamError: it does not fit the ledger.
        """
        checkpoint = self._checkpoint.read()
        if checkpoint is None:
            return None
        carried = self.ledger.carried()
        if carried.query_id.startswith(ACCEPTED) and is_fenced(self.tables.bronze, checkpoint.query_id):
            self._set_aside()
            return None
        unproven = partial(unproven_holes, self._reader, may_be_lost=self.options.on_data_loss == "count")
        problem = checkpoint_problem(checkpoint, self.tables, self.ledger, carried, unproven)
        if problem is None:
            return checkpoint
        if not self.options.recover_from_ledger:
            raise StreamError(
                f"{problem}. Run {RECOVER.format(dataset=self.dataset.name)}: the stream goes on from the "
                "ledger, completed from bronze, without this checkpoint"
            )
        logger.warning("%s: it is set aside", problem)
        self._set_aside()
        return None

    def _set_aside(self) -> None:
        logger.warning("the checkpoint is now %s", self._checkpoint.set_aside("replaced"))

    @property
    def _topics(self) -> tuple[str, str]:
        return self.dataset.topic, self.dataset.replay_topic
