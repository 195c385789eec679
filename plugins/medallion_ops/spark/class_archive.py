"""The classes that a driver loads, as an archive of the JVM (class-data sharing).

A class from the archive is neither parsed nor verified: a driver saves four seconds of processor time. The
second gold job with the same jars writes it (somebody waits for the very first), which takes that one ten
seconds. It is made again when the jars, Spark or the JDK change, as its name has a fingerprint of them. The
JVM checks it by itself: one that does not fit is named in the log, and not used.

Crash points: it is written into the job's own folder and gets its name by one rename.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medallion_ops.spark.job_folder import base_folder
from medallion_ops.spark.settings import SparkSettings

_PREFIX = "medallion-classes-"


@dataclass(frozen=True)
class ClassArchive:
    """The archive for today's jars: where it is, and where a job writes it."""

    path: Path
    draft: Path

    @classmethod
    def of(cls, spark: SparkSettings, folder: Path) -> ClassArchive:
        """The archive for the jars of the settings; `folder` is the job's own."""
        name = f"{_PREFIX}{_fingerprint(spark.jars)}.jsa"
        return cls(base_folder() / name, folder / "classes.jsa")

    def options(self, *, makes_archive: bool) -> str:
        """The JVM's options that use it, or write it where it is missing and the job is one that does."""
        if " " in f"{self.path}{self.draft}":  # the JVM's options are split there
            return ""
        if self._is_ours():
            return f"-XX:SharedArchiveFile={self.path}"
        # Of jars that hold classes for other JVMs it would log each one.
        is_next = makes_archive and self._wanted.exists()
        return f"-XX:ArchiveClassesAtExit={self.draft} -Xlog:cds*=off" if is_next else ""

    def keep(self) -> None:
        """Let the next jobs use what this one has written, if it has, in place of earlier ones."""
        if not self.draft.exists():
            self._wanted.touch()
            return
        self.draft.chmod(0o600)
        self.draft.replace(self.path)
        for older in self.path.parent.glob(f"{_PREFIX}*"):
            if older != self.path:
                with suppress(OSError):
                    older.unlink()

    @property
    def _wanted(self) -> Path:
        """There when a job has ended well without an archive: the next one writes it."""
        return self.path.with_suffix(".wanted")

    def _is_ours(self) -> bool:
        """Whether it is there, and nobody else could have put code into it."""
        try:
            found = self.path.lstat()
        except OSError:
            return False
        return found.st_uid == os.getuid() and not found.st_mode & 0o022


def _fingerprint(jars: Path) -> str:
    return hashlib.sha256("\n".join(_parts(jars)).encode()).hexdigest()[:16]


def _parts(jars: Path) -> Iterator[str]:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    spark = importlib.util.find_spec("pyspark")
    folders = [jars, *(Path(place) / "jars" for place in (spark and spark.submodule_search_locations) or ())]
    files = [Path(java).resolve()] if java else []
    for file in (*files, *(one for folder in folders for one in sorted(folder.glob("*.jar")))):
        with suppress(OSError):
            state = file.stat()
            yield f"{file} {state.st_size} {state.st_mtime_ns}"
