"""Small JSON files in the lake: read, replaced in one step, deleted.

A folder is used directly: Hadoop's local file system would keep checksum files beside ours, and refuse a
file that another process replaced. Anything else goes through Hadoop, which is logged in already.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any, Protocol

from pyspark.sql import SparkSession

_REPLACED_SECONDS = 2
"""Far longer than the replacement of a small file takes; what is no JSON after that never was."""


class SmallFiles(Protocol):
    """JSON objects by their full path."""

    def read(self, path: str) -> dict[str, Any] | None:
        """The object in the file; None when there is none, or (for a moment) half of one."""

    def write(self, path: str, content: dict[str, Any]) -> None:
        """Put the object there, in place of what was there."""

    def delete(self, path: str) -> None:
        """Remove the file; no file is fine."""


def small_files(spark: SparkSession, root: str) -> SmallFiles:
    """Files below a lake root."""
    return LocalFiles() if "://" not in root else _HadoopFiles(spark)


class LocalFiles:
    """Files of a folder; a reader sees the old or the new content."""

    def read(self, path: str) -> dict[str, Any] | None:
        """See SmallFiles."""
        try:
            return _parse(Path(path).read_bytes())
        except FileNotFoundError:
            return None

    def write(self, path: str, content: dict[str, Any]) -> None:
        """See SmallFiles."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("w") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, path: str) -> None:
        """See SmallFiles."""
        Path(path).unlink(missing_ok=True)


class _HadoopFiles:
    """Files of ADLS. A file is empty for a moment while it is replaced: a reader waits for its content."""

    def __init__(self, spark: SparkSession) -> None:
        self._jvm: Any = spark._jvm
        self._conf = spark._jsc.hadoopConfiguration()

    def _open(self, path: str) -> tuple[Any, Any]:
        target = self._jvm.org.apache.hadoop.fs.Path(path)
        return target.getFileSystem(self._conf), target

    def read(self, path: str) -> dict[str, Any] | None:
        system, target = self._open(path)
        deadline = time.monotonic() + _REPLACED_SECONDS
        while system.exists(target):
            stream = system.open(target)
            try:
                value = _parse(bytes(stream.readAllBytes()))
            finally:
                stream.close()
            if value is not None or time.monotonic() > deadline:
                return value
            time.sleep(0.05)
        return None

    def write(self, path: str, content: dict[str, Any]) -> None:
        system, target = self._open(path)
        stream = system.create(target, True)
        try:
            stream.write(bytearray(json.dumps(content).encode()))
        finally:
            stream.close()

    def delete(self, path: str) -> None:
        system, target = self._open(path)
        system.delete(target, False)


def _parse(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
