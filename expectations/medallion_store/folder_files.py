"""Control files in a folder that all machines see under the same path."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medallion_contracts.errors import ServiceUnavailable
from medallion_store.stored_file import StoredFile, object_of, parse_object

LOCK_SECONDS = 10
"""How long a writer waits for the lock of a folder: far longer than a write takes."""
_LOCK_LOOK_SECONDS = 0.01
_DRAFT = ".tmp"


class FolderFiles:
    """Files of a folder that all machines see under the same path."""

    def load(self, path: str) -> StoredFile:
        """See ControlFiles."""
        content = _bytes_of(_local(path))
        return (
            StoredFile(None, None) if content is None else StoredFile(parse_object(content), _hash(content))
        )

    def read(self, path: str) -> dict[str, Any] | None:
        """See ControlFiles."""
        return object_of(self.load(path), path)

    def write(self, path: str, content: Mapping[str, Any]) -> str:
        """See ControlFiles."""
        with _locked(_local(path).parent):
            return _put_in_place(_local(path), content)

    def create(self, path: str, content: Mapping[str, Any]) -> str | None:
        """See ControlFiles."""
        target = _local(path)
        with _locked(target.parent):
            return None if target.exists() else _put_in_place(target, content)

    def replace(self, path: str, content: Mapping[str, Any], tag: str) -> str | None:
        """See ControlFiles."""
        target = _local(path)
        with _locked(target.parent):
            present = _bytes_of(target)
            if present is None or _hash(present) != tag:
                return None
            return _put_in_place(target, content)

    def delete(self, path: str) -> None:
        """See ControlFiles."""
        target = _local(path)
        if target.parent.is_dir():
            with _locked(target.parent):
                target.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".lock"
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with contextlib.suppress(PermissionError):  # it is another user's, who has done this
            os.fchmod(handle, 0o666)  # Spark's driver may run as another user
        deadline = time.monotonic() + LOCK_SECONDS
        while not _try_lock(handle, lock):
            if time.monotonic() > deadline:
                raise ServiceUnavailable(_held(lock))
            time.sleep(_LOCK_LOOK_SECONDS)
        os.pwrite(handle, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        _remove_leftovers(folder)
        yield
    finally:
        os.close(handle)


def _remove_leftovers(folder: Path) -> None:
    """Remove drafts of writers that were killed: a living one would hold the folder's lock."""
    for draft in folder.glob(f".*{_DRAFT}"):
        with contextlib.suppress(OSError):  # another user's
            draft.unlink()


def _held(lock: Path) -> str:
    """What to tell of a lock that another process does not give back, which it has named in the file."""
    words = lock.read_text(errors="replace").splitlines()[:1]
    pid, _, host = words[0].partition(" ") if words else ("", "", "")
    who = f"process {pid} on {host}" if pid.isdecimal() and host else "another process (`fuser` names it)"
    return (
        f"{lock} has been held for {LOCK_SECONDS} s by {who}: it was stopped in the middle of a write; let "
        "it go on (`kill -CONT`) or end it (`kill -9`), the write is then as a whole there or not"
    )


def _try_lock(handle: int, lock: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ServiceUnavailable(
            f"{lock} cannot be locked ({error.strerror}): the lake's folder must be on a file system with "
            "file locks"
        ) from error
    return True


def _put_in_place(target: Path, content: Mapping[str, Any]) -> str:
    body = json.dumps(content).encode()
    # In the same folder, so that the rename stays within one file system.
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=_DRAFT)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # as above
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return _hash(body)


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _local(path: str) -> Path:
    return Path(path.removeprefix("file://").removeprefix("file:"))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
