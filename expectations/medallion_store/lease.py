"""The lease on silver: one JSON file that says who may write it, kept fresh by its owner's heartbeat.

Every change of the file depends on the content that was read (see `control_files`), so two takers of a lease
that is free or stale cannot both have it. What a kill leaves behind, and what then happens:

| killed | there is | then |
|---|---|---|
| while taking it | the old file, or ours | another takes the old one at once, ours when it is stale |
| while holding it | a file whose heartbeat stands still | it is stale after the seconds below |
| while releasing it | ours, or the mark that it is released | as above |

A process that was stopped for longer finds, before its next commit, that the file is another one or gone: the
lease is lost then, whatever has happened to it since. `check` renews the lease in the same step, so that a
commit has at least STALE_STREAM_SECONDS before anyone else may take it.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from medallion_contracts.errors import LeaseError
from medallion_store.control_files import ControlFiles, store_if_unchanged
from medallion_store.utc_time import age_seconds, utc_text

LEASE_BEAT_SECONDS = 5
LEASE_STALE_SECONDS = 60
"""A lease expires after this many seconds without a heartbeat."""
STALE_STREAM_SECONDS = 15
"""The same between two streams of a lake: the other one is this stream's former self, killed."""
_LOOK_SECONDS = 1
_UNREADABLE_SECONDS = 2
"""Seconds that a reader waits for JSON: the previous release replaced files in two steps."""

log = logging.getLogger(__name__)


def lease_holder(lease: Mapping[str, Any] | None, now: datetime | None = None) -> str | None:
    """Who may write silver.

    Args:
        lease: the content of the lease's file.
        now: if not this moment.

    Returns:
        None when the lease is free, released or stale.
    """
    if lease is None or lease.get("owner") is None:
        return None
    age = age_seconds(lease.get("heartbeat_at"), now)
    return str(lease["owner"]) if age is not None and age < LEASE_STALE_SECONDS else None


class Lease:
    """Who may write silver. `owner` starts with the kind of job: `stream:`, `rebuild:`, `erase:`."""

    def __init__(self, files: ControlFiles, path: str, kind: str) -> None:
        self._files = files
        self._path = path
        self.owner = f"{kind}:{uuid.uuid4().hex}"
        self._acquired_at = ""
        self._tag: str | None = None  # of the content that this owner wrote; None while it has no lease
        self._lock = threading.Lock()  # a thread beats while another one checks

    def acquire(self, wait_seconds: float = 0) -> None:
        """Take the lease, waiting for a stale or released one.

        Raises:
            LeaseError: another job holds it.
        """
        deadline = time.monotonic() + wait_seconds
        watch = _Watch()
        while not self._take(watch):
            if time.monotonic() >= deadline:
                holder = self._files.load(self._path).content or {}
                raise LeaseError(
                    f"{self._path}: silver is held by {holder.get('owner')} since "
                    f"{holder.get('acquired_at')}; "
                    "wait until it is done, or remove the file when that job is surely dead"
                )
            time.sleep(_LOOK_SECONDS)

    def _take(self, watch: _Watch) -> bool:
        stored = self._files.load(self._path)
        if stored.content is None and stored.tag is not None:
            time.sleep(_UNREADABLE_SECONDS)
            stored = self._files.load(self._path)
        unchanged_for = watch.unchanged_seconds(stored.tag)
        if not self._is_free(stored.content, unchanged_for):
            return False
        with self._lock:
            self._acquired_at = utc_text()
            self._tag = store_if_unchanged(self._files, self._path, self._content(), stored.tag)
            return self._tag is not None

    def _is_free(self, holder: Mapping[str, Any] | None, unchanged_for: float) -> bool:
        if holder is None or holder.get("owner") in (None, self.owner):
            return True
        kinds = {str(holder.get("owner")).partition(":")[0], self.owner.partition(":")[0]}
        stale = STALE_STREAM_SECONDS if kinds == {"stream"} else LEASE_STALE_SECONDS
        age = age_seconds(holder.get("heartbeat_at"))
        # The second: of a machine whose clock is ahead of ours.
        return age is None or age >= stale or unchanged_for >= stale

    def _content(self) -> dict[str, Any]:
        return {"owner": self.owner, "acquired_at": self._acquired_at, "heartbeat_at": utc_text()}

    def beat(self) -> None:
        """Show that the owner lives; notices when the lease was lost."""
        with self._lock:
            if self._tag is not None:
                self._tag = self._files.replace(self._path, self._content(), self._tag)

    def check(self) -> None:
        """Renew the lease right before a commit.

        Raises:
            LeaseError: it is lost.
        """
        self.beat()
        if self._tag is None:
            holder = (self._files.load(self._path).content or {}).get("owner")
            raise LeaseError(
                f"{self._path}: the lease on silver was "
                f"{'lost: the file was released or removed' if holder is None else f'taken by {holder}'}; "
                "this job stops writing"
            )

    def release(self) -> None:
        """Give the lease back, if it is ours."""
        with self._lock:
            if self._tag is not None:
                # Not removed: a removal cannot depend on the file's content.
                mark = {"owner": None, "released_by": self.owner, "released_at": utc_text()}
                self._files.replace(self._path, mark, self._tag)
            self._tag = None


class LeaseThread:
    """A thread that keeps a lease fresh while its owner works."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._end.wait(LEASE_BEAT_SECONDS):
            try:
                self._lease.beat()
            except Exception as error:
                # The lake is away for a moment: the next beat tries again, and `check` tells.
                log.warning("the lease could not be renewed: %s", type(error).__name__)


class _Watch:
    """How long a file has not changed, by this process's own clock."""

    def __init__(self) -> None:
        self._tag: str | None = None
        self._since = time.monotonic()

    def unchanged_seconds(self, tag: str | None) -> float:
        """Seconds since this tag was first seen."""
        if tag != self._tag:
            self._tag, self._since = tag, time.monotonic()
        return time.monotonic() - self._since
