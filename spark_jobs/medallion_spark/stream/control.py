"""The files by which the stream and its operators talk: lease, stop request, attempts, failure, heartbeat."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from medallion_contracts.errors import LeaseError
from medallion_spark.small_files import SmallFiles
from medallion_store.lake_paths import LakePaths

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15
LEASE_BEAT_SECONDS = 5
STALE_SECONDS = 60
"""A lease without a heartbeat for so long is nobody's."""
STALE_STREAM_SECONDS = 15
"""So long a stream waits for another stream of the same lake, which is its own former self, killed."""
MOST_ATTEMPTS = 3
FORGET_STARTS_SECONDS = 900
"""A failed start that is older is none of those in a row."""


class Lease:
    """Who may write silver. `owner` starts with the kind of job: `stream:`, `rebuild:`, `erase:`."""

    def __init__(self, files: SmallFiles, path: str, kind: str) -> None:
        self._files = files
        self._path = path
        self.owner = f"{kind}:{uuid.uuid4().hex}"
        self._acquired_at = ""
        self._is_ours = False

    def acquire(self, wait_seconds: float = 0) -> None:
        """Take the lease, waiting for a stale or released one.

        Raises:
            LeaseError: somebody else holds it.
        """
        deadline = time.monotonic() + wait_seconds
        while not self._take():
            if time.monotonic() >= deadline:
                holder = self._files.read(self._path) or {}
                raise LeaseError(
                    f"{self._path}: silver is held by {holder.get('owner')} since "
                    f"{holder.get('acquired_at')}; "
                    "wait until it is done, or remove the file when that job is surely dead"
                )
            time.sleep(1)

    def _take(self) -> bool:
        holder = self._files.read(self._path)
        if holder is not None and holder.get("owner") != self.owner:
            kinds = {str(holder.get("owner")).partition(":")[0], self.owner.partition(":")[0]}
            patience = STALE_STREAM_SECONDS if kinds == {"stream"} else STALE_SECONDS
            if _age(holder.get("heartbeat_at")) < patience:
                return False
        self._acquired_at = _now()
        self._write()
        # Two takers: the last writer has it. Give the other one's write the time to land, then look.
        time.sleep(0.2)
        self._is_ours = (self._files.read(self._path) or {}).get("owner") == self.owner
        return self._is_ours

    def _write(self) -> None:
        self._files.write(
            self._path, {"owner": self.owner, "acquired_at": self._acquired_at, "heartbeat_at": _now()}
        )

    def beat(self) -> None:
        """Tell that the owner lives; notices when the lease was taken away."""
        holder = self._files.read(self._path)
        if holder is not None and holder.get("owner") != self.owner:
            self._is_ours = False
            return
        self._write()

    def check(self) -> None:
        """Look whether the lease is still ours: right before each commit.

        Raises:
            LeaseError: it is not.
        """
        holder = self._files.read(self._path)
        if holder is not None and holder.get("owner") != self.owner:
            self._is_ours = False
        if not self._is_ours:
            raise LeaseError(
                f"{self._path}: the lease on silver was taken by {(holder or {}).get('owner')}: "
                "this job stops writing"
            )

    def release(self) -> None:
        """Give the lease back, if it is ours."""
        if self._is_ours and (self._files.read(self._path) or {}).get("owner") == self.owner:
            self._files.delete(self._path)
        self._is_ours = False


@dataclass
class AttemptCounter:
    """Counts how often one batch was begun without an end, over restarts of the driver.

    Killed between two writes, a driver leaves its count behind; only the first batch of a driver and a batch
    that failed are written down, so a stream that works pays nothing.
    """

    files: SmallFiles
    paths: LakePaths
    _is_first: bool = True

    @property
    def _path(self) -> str:
        return f"{self.paths.control}/attempts.json"

    @property
    def _starts(self) -> str:
        return f"{self.paths.control}/start_attempts.json"

    def begin(self, query_id: str, batch_id: int) -> bool:
        """Note that the batch begins; False when it must not: it has been begun MOST_ATTEMPTS times."""
        if not self._is_first:
            return True
        self._is_first = False
        before = self._count(query_id, batch_id)
        if before >= MOST_ATTEMPTS:
            self._give_up(query_id, batch_id, before, "the driver died each time, without an exception")
            return False
        self._write(query_id, batch_id, before + 1)
        return True

    def failed(self, query_id: str, batch_id: int, error: str) -> bool:
        """Note that the batch failed; True when that was the last attempt, and `failure.json` tells."""
        count = max(1, self._count(query_id, batch_id))
        self._write(query_id, batch_id, count)
        if count < MOST_ATTEMPTS:
            return False
        self._give_up(query_id, batch_id, count, error)
        return True

    def cannot_start(self, error: str) -> None:
        """Leave for the operators why there is no batch to attempt."""
        self.files.write(self.paths.failure, {"at": _now(), "batch_id": None, "error": error})

    def failed_outside(self, error: str) -> bool:
        """Note a failure with no batch begun; True when it was the last of MOST_ATTEMPTS in a row.

        A supervisor starts such a driver anew without end: then `failure.json` tells, and it shall end well.
        """
        noted = self.files.read(self._starts) or {}
        before = int(noted.get("attempts", 0)) if _age(noted.get("at")) < FORGET_STARTS_SECONDS else 0
        if before + 1 < MOST_ATTEMPTS:
            self.files.write(self._starts, {"attempts": before + 1, "at": _now(), "error": error})
            return False
        self.cannot_start(error)
        self.files.delete(self._starts)
        return True

    def succeeded(self) -> None:
        """The first batch of this driver, or one that had failed, is done."""
        self.files.delete(self._path)
        self.files.delete(self._starts)

    def _count(self, query_id: str, batch_id: int) -> int:
        noted = self.files.read(self._path) or {}
        is_same = noted.get("query_id") == query_id and noted.get("batch_id") == batch_id
        return int(noted.get("attempts", 0)) if is_same else 0

    def _write(self, query_id: str, batch_id: int, attempts: int) -> None:
        self.files.write(
            self._path, {"query_id": query_id, "batch_id": batch_id, "attempts": attempts, "at": _now()}
        )

    def _give_up(self, query_id: str, batch_id: int, attempts: int, error: str) -> None:
        """Leave the failure for the operators; whoever starts the stream again gets three new attempts."""
        self.files.write(
            self.paths.failure,
            {
                "at": _now(),
                "query_id": query_id,
                "batch_id": batch_id,
                "attempts": attempts,
                "error": error,
            },
        )
        self.files.delete(self._path)


class HeartbeatThread:
    """A thread that keeps lease and heartbeat alive while the driver works."""

    def __init__(
        self, files: SmallFiles, paths: LakePaths, lease: Lease, content: Callable[[], dict[str, Any]]
    ) -> None:
        self._files = files
        self._paths = paths
        self._lease = lease
        self._content = content
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Write the first heartbeat now, then go on in the background."""
        self.beat()
        self._thread.start()

    def beat(self) -> None:
        """Write the heartbeat file."""
        self._files.write(self._paths.heartbeat, {"at": _now(), **self._content()})

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
                # The lake is away for a moment: the next beat tries again; the lease tells.
                logger.warning("the heartbeat could not be written: %s", type(error).__name__)


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _age(utc_time: object) -> float:
    """Seconds since an ISO 8601 moment; what is no such text is infinitely old."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(str(utc_time))).total_seconds()
    except (ValueError, TypeError):
        return float("inf")
