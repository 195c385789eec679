"""`failure.json`: why a dataset's stream gave up, and what has ended that failure since.

A driver that gives up leaves it. It stands until one of these notes its end in the file:

- a driver that started after it and committed a batch, or runs without records to read;
- a person who commanded what follows (`accept-log`, `recover`, `start`).

The end is written on condition that the file is the one that was read before the batch, or the command,
began: a failure that came meanwhile has another tag and stands. Clocks are not compared.

Killed after the batch and before the note, a driver leaves a failure that the next driver's first batch ends;
killed between its request and the note, a command leaves one that the driver it asked for ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from medallion_store.control_files import ControlFiles
from medallion_store.stored_file import StoredFile
from medallion_store.utc_time import parse_utc, utc_text

DRIVER = "driver"
"""What ended a failure: a later driver that works. Commands are named by their own name."""


@dataclass(frozen=True)
class StreamFailure:
    """The content of the file; `kind` is the class of the error where one of the platform's own ended it."""

    at: datetime | None
    batch_id: int | None
    error: str
    kind: str | None = None
    ended_by: str | None = None

    @property
    def is_standing(self) -> bool:
        """Whether the stream is failed now."""
        return self.ended_by is None

    @property
    def is_survived(self) -> bool:
        """Whether a later driver has worked since."""
        return self.ended_by == DRIVER


def failure_of(content: Mapping[str, Any] | None) -> StreamFailure | None:
    """The last failure, ended or not; None when there never was one."""
    if content is None:
        return None
    batch = content.get("batch_id")
    return StreamFailure(
        at=parse_utc(content.get("at")),
        batch_id=batch if isinstance(batch, int) else None,
        error=str(content.get("error")),
        kind=content.get("kind"),
        ended_by=content.get("ended_by"),
    )


def end_failure(files: ControlFiles, path: str, seen: StoredFile, by: str) -> bool:
    """Note that a failure is history.

    Args:
        files: of the lake.
        path: of the file.
        seen: the file before what ended the failure began.
        by: DRIVER, or a command.

    Returns:
        Whether it was; False when none stood, or when another failure came meanwhile.
    """
    failure = failure_of(seen.content)
    if seen.content is None or seen.tag is None or failure is None or not failure.is_standing:
        return False
    ended = {**seen.content, "ended_at": utc_text(), "ended_by": by}
    return files.replace(path, ended, seen.tag) is not None
