"""Opening the file that a run's parameters name: a regular file, and one below the producer's folder.

Who may trigger a DAG may not read every file of the worker: a secrets file or /proc/self/environ would go to
Kafka. The command line, whose user has the worker's shell already, has no such folder.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from medallion_contracts.errors import ServiceUnavailable, SourceError

_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.ENOMEM})
"""Errors of a disk or a share that may be over at the next try."""


class SourceFile:
    """A file of events.

    Args:
        path: The file; below `folder` also a path relative to it.
        folder: What it must be in, whatever links lead there; None for anywhere.
    """

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        self._path = path if folder is None else folder / path
        self._folder = folder
        # What is named and not there, or not allowed, may be anything: a slip of the clipboard too.
        self.shown = str(path) if folder is None else f"the file, which must be in {folder},"

    def open(self) -> BinaryIO:
        """The opened file. It is opened first and looked at then, so a link that is swapped gains nothing.

        Raises:
            SourceError: It is not there, may not be read, or is no regular file in the folder.
            ServiceUnavailable: Its disk or share has a trouble that may pass.
        """
        try:
            # Without waiting: opening a FIFO would, for a writer that never comes.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except (OSError, ValueError) as error:  # ValueError: a path with a null byte
            raise self.unreadable(error) from None
        try:
            self._refuse_others(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return os.fdopen(descriptor, "rb")

    def unreadable(self, error: OSError | ValueError) -> SourceError | ServiceUnavailable:
        """What to raise for an error of the operating system: it names the cause."""
        reason = (error.strerror if isinstance(error, OSError) else None) or "is no path"
        if isinstance(error, OSError) and error.errno in _PASSING:
            return ServiceUnavailable(f"{self.shown} cannot be read now ({reason}): see its disk or share")
        return SourceError(f"{self.shown} cannot be read", [reason])

    def _refuse_others(self, descriptor: int) -> None:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise SourceError(f"{self.shown} cannot be read", [os.strerror(errno.EISDIR)])
        if not stat.S_ISREG(kind):
            raise SourceError(f"{self.shown} cannot be read", ["it is no regular file"])
        if self._folder is None:
            return
        real = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        folder = self._folder.resolve()
        if not real.is_relative_to(folder):
            raise SourceError(
                f"{self.shown} is refused",
                ["it is elsewhere: copy it to the folder of MEDALLION_PRODUCER_DIR"],
            )
        self.shown = str(real)
