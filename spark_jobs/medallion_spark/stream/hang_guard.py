"""Ends a driver that stands still, and leaves word of it for the operators."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from medallion_spark.stream.control import AttemptCounter
from medallion_spark.stream.liveness import ProgressWatch, Sight, finished_tasks
from medallion_store.control_files import ControlFiles
from medallion_store.heartbeat import HANGING, STARTING, WORKING
from medallion_store.lake_paths import LakePaths
from medallion_store.utc_time import age_seconds, utc_text

REPORT_SECONDS = 60
"""How long a driver that hangs may take to leave word of it before it ends."""

logger = logging.getLogger(__name__)


class HangGuard:
    """What sees that the driver hangs; `query` is set when there is one."""

    def __init__(
        self,
        spark: SparkSession,
        files: ControlFiles,
        paths: LakePaths,
        attempts: AttemptCounter,
        state: MutableMapping[str, Any],
        hang_minutes: float,
    ) -> None:
        """Make it; `start` starts it.

        Args:
            spark: the session whose tasks count.
            files: where the report goes.
            paths: of the lake.
            attempts: counts the batches that hung as well as those that failed.
            state: of the stream, as its heartbeat says it.
            hang_minutes: without progress, after which the driver ends.
        """
        jvm: Any = spark._jvm
        self._spark = spark
        self._files = files
        self._paths = paths
        self._attempts = attempts
        self._state = state
        self._hang_seconds = 60 * hang_minutes
        self._watch = ProgressWatch(self._look)
        self._watched_at: float | None = None
        # Asked for now: a JVM that hangs does not answer.
        self._jvm_pid = int(jvm.java.lang.ProcessHandle.current().pid())
        self.query: StreamingQuery | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._watch.start()

    def stop(self) -> None:
        """End the watch."""
        self._watch.stop()

    def watched(self) -> None:
        """The main thread looks after the query."""
        self._watched_at = time.monotonic()

    def unwatched(self) -> None:
        """The main thread does something else from now on, and may take long."""
        self._watched_at = None

    def heartbeat(self) -> dict[str, Any]:
        """What the heartbeat says of progress."""
        is_working = self._state["state"] == WORKING
        return {
            "batch_age_seconds": age_seconds(self._state.get("batch_started_at")) if is_working else None,
            "last_task_at": self._watch.last_task_at,
            "idle_seconds": round(self.idle_seconds),
        }

    @property
    def idle_seconds(self) -> float:
        """For how long nothing has moved: neither the query nor the thread that looks after it."""
        watched_at = self._watched_at
        unwatched_for = 0.0 if watched_at is None else time.monotonic() - watched_at
        return max(self._watch.idle_seconds, unwatched_for)

    def end_if_hanging(self, beat: Callable[[], None]) -> None:
        """End a driver that stands still, in the middle of its batch: a crash, and as safe as one.

        Args:
            beat: writes the last heartbeat.
        """
        idle = self.idle_seconds
        if idle < self._hang_seconds:
            return
        # What follows may hang too.
        end_at_last = threading.Timer(REPORT_SECONDS, end_driver, (self._jvm_pid, False))
        end_at_last.daemon = True
        end_at_last.start()
        has_given_up = False
        try:
            has_given_up = self._report(idle, beat)
        finally:
            end_at_last.cancel()
            end_driver(self._jvm_pid, has_given_up)

    def _report(self, idle: float, beat: Callable[[], None]) -> bool:
        """Leave word of it; gives whether it was the last attempt."""
        is_working = self._state["state"] == WORKING
        query_id, batch_id = self._state.get("query_id"), self._state.get("batch_id")
        where = f"batch {batch_id}" if is_working else f"the driver, {self._state['state']},"
        error = (
            f"{where} hung: no Spark task finished for {idle:.0f} s (MEDALLION_BATCH_HANG_MINUTES); the last "
            f"one did at {self._watch.last_task_at}"
        )
        logger.error("%s: this driver ends", error)
        self._state["state"] = HANGING
        self._files.write(self._paths.hang, {"at": utc_text(), "batch_id": batch_id, "error": error})
        beat()
        if is_working:
            return self._attempts.failed(str(query_id), int(batch_id or 0), error)
        return self._attempts.failed_outside(error)

    def _look(self) -> Sight:
        """Where the query is; it has work in a batch, in a trigger around one, and at the start."""
        state, query = self._state["state"], self.query
        status = query.status if query is not None else {"isTriggerActive": True}
        return Sight(
            finished_tasks(self._spark),
            (state, self._state.get("batch_id"), str(status)),
            has_work=state in (STARTING, WORKING) or bool(status["isTriggerActive"]),
        )


def end_driver(jvm_pid: int, has_given_up: bool) -> None:
    """End this process and its JVM at once.

    Args:
        jvm_pid: the JVM, which may not answer any more.
        has_given_up: whether a supervisor must not start the driver again.
    """
    logging.shutdown()
    if not has_given_up:
        os.kill(jvm_pid, signal.SIGKILL)
    os._exit(0 if has_given_up else 1)
