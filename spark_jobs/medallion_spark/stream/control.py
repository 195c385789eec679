"""How often a batch, or the driver's start, was tried in vain; and what operators learn of it."""

from __future__ import annotations

from dataclasses import dataclass

from medallion_store.control_files import ControlFiles
from medallion_store.lake_paths import LakePaths
from medallion_store.stored_file import StoredFile
from medallion_store.stream_failure import DRIVER, end_failure
from medallion_store.utc_time import age_seconds, utc_text

MOST_ATTEMPTS = 3
FORGET_STARTS_SECONDS = 900
"""A failed start that is older is none of those in a row."""


@dataclass
class AttemptCounter:
    """Counts how often one batch was begun without an end, over restarts of the driver.

    Killed between two writes, a driver leaves its count behind; only the first batch of a driver and a batch
    that failed are written down, so a stream that works pays nothing.
    """

    files: ControlFiles
    paths: LakePaths
    _is_first: bool = True
    _failure_before: StoredFile | None = None

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
        # This driver holds silver's lease and has not failed yet: what is there is an earlier one's.
        self._failure_before = self.files.load(self.paths.failure)
        before = self._count(query_id, batch_id)
        if before >= MOST_ATTEMPTS:
            self._give_up(query_id, batch_id, before, "the driver died each time, without an exception")
            return False
        self._write(query_id, batch_id, before + 1)
        return True

    def failed(self, query_id: str, batch_id: int, error: str, kind: str | None = None) -> bool:
        """Note that the batch failed; True when that was the last attempt, and `failure.json` tells.

        Args:
            query_id: of Spark.
            batch_id: of it.
            error: the reason.
            kind: class of the platform's own error.
        """
        count = max(1, self._count(query_id, batch_id))
        self._write(query_id, batch_id, count)
        if count < MOST_ATTEMPTS:
            return False
        self._give_up(query_id, batch_id, count, error, kind)
        return True

    def cannot_start(self, error: str, kind: str | None = None) -> None:
        """Leave for the operators why there is no batch to attempt.

        Args:
            error: the reason.
            kind: class of the platform's own error.
        """
        content = {"at": utc_text(), "batch_id": None, "error": error, "kind": kind}
        self.files.write(self.paths.failure, content)

    def failed_outside(self, error: str, kind: str | None = None) -> bool:
        """Note a failure with no batch begun; True when it was the last of MOST_ATTEMPTS in a row.

        A supervisor starts such a driver again without end: `failure.json` says why then, and the driver has
        to exit 0.

        Args:
            error: the reason.
            kind: class of the platform's own error.
        """
        noted = self.files.load(self._starts).content or {}
        age = age_seconds(noted.get("at"))
        before = int(noted.get("attempts", 0)) if age is not None and age < FORGET_STARTS_SECONDS else 0
        if before + 1 < MOST_ATTEMPTS:
            self.files.write(self._starts, {"attempts": before + 1, "at": utc_text(), "error": error})
            return False
        self.cannot_start(error, kind)
        self.files.delete(self._starts)
        return True

    def succeeded(self) -> None:
        """The first batch of this driver, or one that had failed, is done: an earlier failure is history."""
        self.files.delete(self._path)
        self.files.delete(self._starts)
        if self._failure_before is not None:
            end_failure(self.files, self.paths.failure, self._failure_before, DRIVER)
            self._failure_before = None

    def runs_without_records(self) -> None:
        """No batch has begun although the broker answers: an earlier driver's failure is history."""
        if self._is_first:
            end_failure(self.files, self.paths.failure, self.files.load(self.paths.failure), DRIVER)

    def _count(self, query_id: str, batch_id: int) -> int:
        noted = self.files.load(self._path).content or {}
        is_same = noted.get("query_id") == query_id and noted.get("batch_id") == batch_id
        return int(noted.get("attempts", 0)) if is_same else 0

    def _write(self, query_id: str, batch_id: int, attempts: int) -> None:
        self.files.write(
            self._path, {"query_id": query_id, "batch_id": batch_id, "attempts": attempts, "at": utc_text()}
        )

    def _give_up(
        self, query_id: str, batch_id: int, attempts: int, error: str, kind: str | None = None
    ) -> None:
        """Leave the failure for the operators; whoever starts the stream again gets three new attempts."""
        self.files.write(
            self.paths.failure,
            {
                "at": utc_text(),
                "query_id": query_id,
                "batch_id": batch_id,
                "attempts": attempts,
                "error": error,
                "kind": kind,
            },
        )
        self.files.delete(self._path)
