"""Runs the stream until it is asked to stop, a batch fails, or the driver is killed."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from deltalake.exceptions import DeltaError
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from medallion_contracts.errors import (
    LeaseError,
    MedallionError,
    OtherLogError,
    ReleaseMismatch,
    ServiceUnavailable,
    StreamError,
)
from medallion_contracts.model import Dataset
from medallion_spark.lake.tables import stream_tables
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.session.spark_session import EXECUTOR_WAIT_SECONDS, executor_count, no_executor
from medallion_spark.stream.batch import MicroBatches
from medallion_spark.stream.control import AttemptCounter
from medallion_spark.stream.error_text import first_line, kind_of, reason_of
from medallion_spark.stream.hang_guard import HangGuard
from medallion_spark.stream.last_records import Partition
from medallion_spark.stream.ledger import Ledger
from medallion_spark.stream.ledger_completion import complete_ledger
from medallion_spark.stream.liveness import HeartbeatThread, cluster_driver_id
from medallion_spark.stream.log_watch import LogWatch
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.planned_offsets import PlannedOffsets
from medallion_spark.stream.preparation import prepare_lake
from medallion_spark.stream.progress import ProgressTable
from medallion_spark.stream.read_failures import reading_failure
from medallion_spark.stream.source import KafkaAccess, read_stream
from medallion_spark.stream.startup import StartUp
from medallion_spark.stream.topic_log import BrokerLog, TopicLog, Where
from medallion_spark.stream.topic_watch import TopicWatch
from medallion_store.contract_store import StoredContract, keep_in_lake
from medallion_store.control_files import ControlFiles, control_files
from medallion_store.driver_orders import DriverOrders
from medallion_store.heartbeat import ENDED, STARTING, STOPPED, WAITING, WORKING
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths
from medallion_store.lease import STALE_STREAM_SECONDS, Lease
from medallion_store.release import refuse_other_release, release
from medallion_store.utc_time import utc_text

logger = logging.getLogger(__name__)

SESSION_SETTINGS = {
    # Our shuffles are small and have a task a core: planning again after each stage finds nothing better.
    "spark.sql.adaptive.enabled": "false",
    # A micro-batch is in memory for seconds: looking for its best encoding costs more than it saves.
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    # Dictionaries are a third of a write's time; OPTIMIZE makes them when it makes large files.
    "spark.hadoop.parquet.enable.dictionary": "false",
}
"""What the stream's session has beyond that of every job."""

LOOK_SECONDS = 1
"""How often the driver looks for a stop request and for executors."""
LOG_LOOK_SECONDS = 10
"""How often the driver looks whether the topics still have the logs that it reads."""
COMMIT_WAIT_SECONDS = 10
QUIET_SECONDS = 60
"""A query without a batch for so long after its start has nothing to read."""


class _Stopping(Exception):
    """Ends a batch that has not begun when the stream is about to stop."""


class Stream:
    """One run of the streaming query of a dataset."""

    def __init__(
        self,
        spark: SparkSession,
        dataset: Dataset,
        lake: LakeAccess,
        kafka: KafkaAccess,
        options: StreamOptions,
    ) -> None:
        self._spark = spark
        self._dataset = dataset
        self._kafka = kafka
        self._options = options
        self._paths = LakePaths(lake.uri, dataset.name)
        storage = delta_storage_options(lake.login)
        self._files: ControlFiles = control_files(lake.login)
        self._lease = Lease(self._files, self._paths.lease, "stream")
        self._attempts = AttemptCounter(self._files, self._paths)
        # Asked for once: a JVM that hangs must not hold up the thread that renews the lease.
        self._application_id = str(spark.sparkContext.applicationId)
        self._orders = DriverOrders(self._files, self._paths, options.submission)
        self._progress = ProgressTable(self._paths.progress, storage)
        self._ledger = Ledger(self._paths.ledger, storage)
        self._tables = stream_tables(self._paths, dataset, lake)
        self._log = BrokerLog(spark, kafka)
        self._topic_watch = TopicWatch(self._log, self._topics)
        self._planned = PlannedOffsets(spark, self._paths.checkpoint)
        self._batches: MicroBatches | None = None
        self._query: StreamingQuery | None = None
        self._busy = threading.Lock()
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._gave_up = False
        self._log_watch: LogWatch | None = None
        self._next_log_look = 0.0
        self._logs_are_there = False
        self._ends_seen: Mapping[Partition, int] = {}
        self._state: dict[str, Any] = {"state": STARTING}
        self._hang_guard = HangGuard(
            spark, self._files, self._paths, self._attempts, self._state, options.batch_hang_minutes
        )
        self._heartbeat_thread = HeartbeatThread(
            self._files, self._paths.heartbeat, self._lease, self._heartbeat, self._end_if_hanging
        )

    def run(self) -> None:
        """Stream until a stop request (or a failure that was reported); returns when all is written.

        Raises:
            LeaseError: another writer holds silver.
            ServiceUnavailable: the broker does not answer, or no executor is left.
            StreamError: a batch failed; nothing of it is lost, and the next run takes it up.
        """
        refusal = self._orders.refusal()
        if refusal is not None:
            logger.warning("%s: not starting", refusal)
            return
        self._lease.acquire(wait_seconds=STALE_STREAM_SECONDS + 5)
        self._ends_seen = _ends_of((self._files.read(self._paths.heartbeat) or {}).get("end_offsets"))
        self._hang_guard.start()
        heartbeat = self._heartbeat_thread
        try:
            heartbeat.start()
            query = self._prepare_and_start()
            if query is None:
                return
            self._query = self._hang_guard.query = query
            if self._state["state"] == STARTING:  # no batch has begun: an idle stream is not a starting one
                self._state["state"] = WAITING
            logger.info("query %s reads %s", query.id, self._dataset.topic)
            self._watch(query)
        finally:
            self._state["state"] = STOPPED if self._stopping.is_set() and not self._gave_up else ENDED
            self._hang_guard.stop()
            heartbeat.stop()
            heartbeat.beat()
            if self._query is None or not self._query.isActive:
                # Otherwise this driver is about to end in the middle of a batch: the lease runs out after it.
                self._lease.release()
                self._log.close()
                if self._log_watch is not None:
                    self._log_watch.close()

    def _prepare_and_start(self) -> StreamingQuery | None:
        """Tables made ready and the query started; None when that failed and a person has to mend it.

        A supervisor would start this driver again and again: then `failure.json` tells, and it ends well.
        """
        try:
            self._prepare()
            self._topic_watch.start()
            self._log_watch, starting = self._start_up().run()
            self._ends_seen = self._log_watch.ends
            return self._start(starting)
        except LeaseError:
            raise  # silver is held by another: the next start finds it otherwise
        except (StreamError, ReleaseMismatch) as error:
            self._refuse(error)
        except MedallionError:
            raise  # a service that is away: the next start finds it otherwise
        except Exception as error:
            if not self._attempts.failed_outside(reason_of(error)):
                raise
            logger.exception("cannot start")
        return None

    def _prepare(self) -> None:
        refuse_other_release(self._options.release)
        recovers = self._options.recover_from_ledger
        name = self._dataset.name
        prepare_lake(self._tables, self._ledger, self._progress, name, recovers=recovers)
        keep_in_lake(self._files, self._paths, StoredContract(name, self._dataset.files))
        if recovers and not self._ledger.exists():
            complete_ledger(self._spark, self._dataset, self._tables, self._ledger)

    def _start_up(self) -> StartUp:
        return StartUp(
            self._spark,
            self._dataset,
            self._kafka,
            self._options,
            self._paths,
            self._files,
            self._tables,
            self._ledger,
            self._new_batches,
            self._ends_seen,
        )

    def _refuse(self, error: MedallionError) -> None:
        """Leave for a person what only a person can mend; the driver then ends well."""
        if isinstance(error, OtherLogError):
            self._files.write(self._paths.other_log, {"at": utc_text(), "logs": list(error.logs)})
        self._attempts.cannot_start(str(error), kind_of(error))
        self._gave_up = True
        logger.error("cannot go on: %s", error)

    @property
    def _topics(self) -> tuple[str, str]:
        return self._dataset.topic, self._dataset.replay_topic

    def _start(self, starting: Mapping[str, Mapping[str, int]] | None) -> StreamingQuery:
        records = read_stream(
            self._spark,
            self._kafka,
            self._topics,
            max_offsets=self._options.max_offsets_per_trigger,
            fail_on_data_loss=self._options.on_data_loss == "fail",
            starting=starting,
        )
        return (
            records.writeStream.queryName(f"{self._dataset.name}_stream")
            .option("checkpointLocation", self._paths.checkpoint)
            .trigger(processingTime=f"{self._options.trigger_seconds} seconds")
            .foreachBatch(self._process)
            .start()
        )

    # --- one batch, on Spark's thread ----------------------------------------------------------------------
    def _process(self, records: DataFrame, batch_id: int) -> None:
        while not self._busy.acquire(timeout=0.2):
            if self._stopping.is_set():
                raise _Stopping
        try:
            self._process_alone(records, batch_id)
        finally:
            self._busy.release()

    def _process_alone(self, records: DataFrame, batch_id: int) -> None:
        query_id = self._query_id()
        if not self._attempts.begin(query_id, batch_id):
            self._gave_up = True
            raise _Stopping
        self._state.update(state=WORKING, query_id=query_id, batch_id=batch_id, batch_started_at=utc_text())
        try:
            if self._batches is None:
                self._batches = self._new_batches(query_id)
                row = self._batches.process(records, batch_id)
                self._attempts.succeeded()
            else:
                row = self._batches.process(records, batch_id)
        except BaseException as error:
            if isinstance(error, OtherLogError):
                self._refuse(error)
                raise
            self._error = reading_failure(error, self._next_offsets, self._log) or error
            if not isinstance(error, LeaseError):  # that is not the batch's fault
                reason, kind = reason_of(self._error), kind_of(self._error)
                self._gave_up = self._attempts.failed(query_id, batch_id, reason, kind)
            raise
        self._state["state"] = WAITING
        if row is not None:
            self._state["last_batch_at"] = row.committed_at.isoformat()

    def _query_id(self) -> str:
        # The first batch may come before `start` has returned.
        while self._query is None:
            time.sleep(0.01)
        return str(self._query.id)

    def _new_batches(self, query_id: str, log: TopicLog | None = None) -> MicroBatches:
        return MicroBatches(
            self._spark,
            self._dataset,
            self._options,
            self._tables,
            self._ledger,
            query_id,
            log=log or self._log,
            plan=self._planned.plan,
            guard=self._lease.check,
            watch=self._log_watch,
        )

    # --- the watch, on the main thread ---------------------------------------------------------------------
    def _watch(self, query: StreamingQuery) -> None:
        without_executor_since: float | None = None
        reported = -1
        quiet_at: float | None = time.monotonic() + QUIET_SECONDS
        while True:
            self._hang_guard.watched()
            try:
                if query.awaitTermination(LOOK_SECONDS):
                    break
            except StreamingQueryException as error:
                self._explain(error)
                return
            self._topic_watch.look()
            reported = self._report(query, reported)
            if self._has_another_log():
                self._stop(query)
                return
            if self._orders.is_asked_to_stop():
                self._stop(query)
                self._report(query, reported)
                logger.info("stopped: %s asks for it", self._paths.stop_request)
                return
            if executor_count(self._spark) >= 1:
                without_executor_since = None
                if quiet_at is not None and time.monotonic() > quiet_at and self._is_idle(query):
                    quiet_at = None
                    self._note_quiet()
                continue
            without_executor_since = without_executor_since or time.monotonic()
            if time.monotonic() - without_executor_since > EXECUTOR_WAIT_SECONDS:
                raise ServiceUnavailable(no_executor(self._spark))

    def _note_quiet(self) -> None:
        try:
            self._attempts.runs_without_records()
        except ServiceUnavailable as error:
            # The stream matters more: the first batch notes it too.
            logger.warning("an earlier failure could not be ended: %s", error)

    def _is_idle(self, query: StreamingQuery) -> bool:
        """Whether the query is between two triggers, and the last look found the broker's logs there."""
        return self._logs_are_there and not query.status["isTriggerActive"]

    def _has_another_log(self) -> bool:
        """Look now and then whether the topics still have the logs that are read, also while none is read."""
        if self._log_watch is None or time.monotonic() < self._next_log_look:
            return False
        self._next_log_look = time.monotonic() + LOG_LOOK_SECONDS
        self._logs_are_there = False
        try:
            self._log_watch.check()
            self._logs_are_there = True
        except OtherLogError as error:
            self._refuse(error)
            return True
        except MedallionError as error:
            logger.warning("the logs could not be looked at: %s", error)
        self._ends_seen = self._log_watch.ends
        return False

    def _stop(self, query: StreamingQuery) -> None:
        """Stop between two batches: after Spark's commit of the last one, before any write of the next."""
        self._stopping.set()
        self._hang_guard.unwatched()
        with self._busy:
            done = self._state.get("batch_id", -1)
            deadline = time.monotonic() + COMMIT_WAIT_SECONDS
            while time.monotonic() < deadline and query.isActive and _last_batch(query) < done:
                time.sleep(0.05)
            query.stop()

    def _report(self, query: StreamingQuery, reported: int) -> int:
        """Write the progress of batches with data that have ended since; gives the newest one's id."""
        for progress in query.recentProgress:
            content: Mapping[str, Any] = json.loads(progress.json)
            if content["batchId"] > reported and content["numInputRows"] > 0:
                try:
                    self._progress.append(content, self._topic_watch.held_back)
                except (DeltaError, OSError) as error:
                    # Records matter more than figures, and the next look tries again.
                    logger.warning("progress could not be written: %s", reason_of(error))
                    break
                reported = content["batchId"]
        return reported

    def _explain(self, error: StreamingQueryException) -> None:
        """Raise what ended the query; return when that was reported and must not be repeated."""
        self._next_log_look = 0.0
        if self._gave_up or self._has_another_log():
            logger.error("gave up: see %s", self._paths.failure)
            return
        if isinstance(self._error, MedallionError):
            raise self._error
        if self._error is not None:
            raise StreamError(
                f"a batch failed and will be run again: {reason_of(self._error)}"
            ) from self._error
        refused = reading_failure(error, self._next_offsets, self._log)
        reason = (
            str(refused)
            if refused
            else (
                f"the query ended outside of a batch: {first_line(str(error))}; "
                f"is the broker at {self._kafka.bootstrap} (MEDALLION_KAFKA_BOOTSTRAP) there, "
                f"and are {self._paths.checkpoint} and its offsets still valid?"
            )
        )
        if not self._attempts.failed_outside(reason, kind_of(refused)):
            raise (refused or ServiceUnavailable(reason)) from error
        logger.error("gave up: %s", reason)

    def _end_if_hanging(self) -> None:
        self._hang_guard.end_if_hanging(self._heartbeat_thread.beat)

    def _next_offsets(self) -> Mapping[Where, int]:
        """The first offsets not done yet, by the ledger, else by the plan."""
        carried = self._ledger.carried().sources
        plan = self._planned.plan(int(self._state.get("batch_id", 0)), carried) or {}
        planned = {where: offsets.start for where, offsets in plan.items()}
        done = {where: source.until_offset for where, source in carried.items()}
        return {**planned, **done}

    def _heartbeat(self) -> dict[str, Any]:
        return {
            **self._state,
            **self._topic_watch.content(),
            "owner": self._lease.owner,
            "submission": self._options.submission,
            "driver_id": cluster_driver_id(),
            "application_id": self._application_id,
            "contract_hash": self._dataset.fingerprint,
            "release": release(),
            **self._hang_guard.heartbeat(),
            # What is lost, should a log be replaced before it is read to its end.
            "end_offsets": [[topic, number, end] for (topic, number), end in self._ends_seen.items()],
        }


def _ends_of(stored: object) -> dict[Partition, int]:
    """The ends of partitions that a heartbeat names; an old heartbeat names none."""
    return {(topic, number): end for topic, number, end in (stored if isinstance(stored, list) else ())}


def _last_batch(query: StreamingQuery) -> int:
    progress = query.lastProgress
    return -1 if progress is None else int(json.loads(progress.json)["batchId"])
