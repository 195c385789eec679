"""Whether the driver gets on: lease and heartbeat kept fresh by one thread, progress watched by another.

A long batch is no hang: what counts is when a Spark task last finished, or the query last moved, while there
was work to do. Nor is a heartbeat a sign of progress: its thread would go on beside a batch that hangs for
ever. So the heartbeat says for how long nothing has moved; and when that is too long, its thread ends the
driver in the middle of the batch, which is a crash and as safe as one. The progress is watched by a thread of
its own, as a JVM that has stopped does not answer; the lease's thread never asks it.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from medallion_contracts.errors import LeaseError
from medallion_store.control_files import ControlFiles, store_if_unchanged
from medallion_store.heartbeat import HEARTBEAT_SECONDS
from medallion_store.lease import LEASE_BEAT_SECONDS, Lease
from medallion_store.utc_time import utc_text

_LOOK_SECONDS = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sight:
    """What one look at the driver shows.

    Args:
        tasks: Spark tasks that have finished so far, well or not.
        position: where the driver is: anything that changes when it gets on.
        has_work: False while it waits for the next trigger.
    """

    tasks: int
    position: object
    has_work: bool


class ProgressWatch:
    """Looks again and again whether the driver gets on."""

    def __init__(self, look: Callable[[], Sight]) -> None:
        self._look = look
        self._last: Sight | None = None
        self._moved_at = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self.last_task_at: str | None = None

    def start(self) -> None:
        """Begin to look in the background."""
        self._moved_at = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; one that waits for an answer is left behind."""
        self._end.set()
        self._thread.join(timeout=_LOOK_SECONDS)

    @property
    def idle_seconds(self) -> float:
        """For how long nothing has moved while there was work, or the JVM has not answered."""
        return time.monotonic() - self._moved_at

    def look(self) -> None:
        """Look once."""
        sight = self._look()
        if self._last is None or sight.tasks != self._last.tasks:
            self.last_task_at = utc_text() if sight.tasks else None
        if sight != self._last or not sight.has_work:
            self._moved_at = time.monotonic()
        self._last = sight

    def _run(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception as error:
                # The JVM is about to end, or does not answer: it counts as standing still.
                logger.warning("the progress cannot be seen: %s", type(error).__name__)


class HeartbeatThread:
    """A thread that keeps lease and heartbeat fresh while the driver works."""

    def __init__(
        self,
        files: ControlFiles,
        path: str,
        lease: Lease,
        content: Callable[[], dict[str, Any]],
        each_beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Make it; `start` starts it.

        Args:
            files: where the heartbeat goes.
            path: of the heartbeat.
            lease: to keep fresh.
            content: what the heartbeat says beside its time.
            each_beat: called every LEASE_BEAT_SECONDS, after the lease was renewed.
        """
        self._files = files
        self._path = path
        self._lease = lease
        self._content = content
        self._each_beat = each_beat
        self._tag: str | None = None
        self._writing = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Write the first heartbeat now, then go on in the background."""
        self._tag = self._files.load(self._path).tag
        self.beat()
        self._thread.start()

    def beat(self) -> None:
        """Write the heartbeat, unless another driver does by now: it has the lease then."""
        with self._writing:
            tag = self._write()
            if tag is None and self._has_lease():
                self._tag = self._files.load(self._path).tag
                tag = self._write()
            if tag is not None:
                self._tag = tag

    def _write(self) -> str | None:
        content = {"at": utc_text(), **self._content()}
        return store_if_unchanged(self._files, self._path, content, self._tag)

    def _has_lease(self) -> bool:
        try:
            self._lease.check()
        except LeaseError:
            return False
        return True

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        beats = 0
        while not self._end.wait(LEASE_BEAT_SECONDS):
            beats += 1
            try:
                self._lease.beat()
                if beats % (HEARTBEAT_SECONDS // LEASE_BEAT_SECONDS) == 0:
                    self.beat()
            except Exception as error:
                # The lake is away for a moment: the next beat tries again, and the lease's check tells.
                logger.warning("the heartbeat could not be written: %s", type(error).__name__)
            self._each_beat()


def finished_tasks(spark: SparkSession) -> int:
    """Tasks of this session that have finished so far, well or not, on all executors there ever were."""
    executors = spark.sparkContext._jsc.sc().statusStore().executorList(False)
    count = 0
    for number in range(executors.size()):
        executor = executors.apply(number)
        count += executor.completedTasks() + executor.failedTasks()
    return count


def cluster_driver_id() -> str | None:
    """The id that the cluster's master gave this driver: the name of the folder it runs in."""
    folder = os.path.basename(os.getcwd())
    return folder if re.fullmatch(r"driver-\d{14}-\d+", folder) else None
