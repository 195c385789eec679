"""A folder of its own for the temporary files of each job's driver, gone when the job has ended.

Its owner holds a lock on it, which the system releases however the owner ends: a folder without a lock is of
a job that was killed, and the next job, or the nightly maintenance, deletes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "medallion-job-"
_LOCK = ".owner"
_MAKING_SECONDS = 60


@contextmanager
def job_folder() -> Iterator[Path]:
    """A new folder below SPARK_LOCAL_DIRS (or the system's temporary folder), gone after the block."""
    delete_abandoned_folders()
    base = base_folder()
    base.mkdir(parents=True, exist_ok=True)
    # Locked before it has its name: nobody takes a folder that is being made for an abandoned one.
    draft = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=base))
    with (draft / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = draft.rename(base / draft.name.removeprefix("."))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def delete_abandoned_folders() -> int:
    """Delete the folders whose job was killed; gives their number."""
    deleted = 0
    for folder in (*base_folder().glob(f"{_PREFIX}*"), *base_folder().glob(f".{_PREFIX}*")):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
            deleted += 1
    return deleted


def _is_abandoned(folder: Path) -> bool:
    if folder.name.startswith("."):  # being made, which takes no time
        return time.time() - folder.stat().st_mtime > _MAKING_SECONDS
    try:
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # half-deleted by its owner, or by another who died over it
        return True
    except OSError:
        return False
    return True


def base_folder() -> Path:
    """SPARK_LOCAL_DIRS, or the system's temporary folder."""
    local = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0]
    return Path(local or tempfile.gettempdir())
