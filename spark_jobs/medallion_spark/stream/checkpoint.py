"""Reads Spark's checkpoint of the stream: which batches it planned and finished, and up to which offsets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pyspark.sql import SparkSession

from medallion_spark.stream.last_records import Partition

Offsets = Mapping[Partition, int]


@dataclass(frozen=True)
class Checkpoint:
    """What the checkpoint says.

    `planned` and `finished` are the newest batches with offsets and with Spark's commit, None when there are
    none; `planned_ends` and `finished_ends` are where they end. `start` is where the query began, empty until
    Spark has written that down.
    """

    query_id: str
    planned: int | None
    finished: int | None
    planned_ends: Offsets
    finished_ends: Offsets
    start: Offsets


class CheckpointFolder:
    """The folder of the checkpoint, in a folder or in an object store."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self._path = path
        self._jvm: Any = spark._jvm
        self._conf: Any = spark._jsc.hadoopConfiguration()

    @cached_property
    def _system(self) -> Any:
        return self._at("").getFileSystem(self._conf)

    def read(self) -> Checkpoint | None:
        """None when there is no checkpoint."""
        metadata = self._content("metadata")
        if metadata is None:
            return None
        planned, finished = self._newest("offsets"), self._newest("commits")
        return Checkpoint(
            query_id=str(json.loads(metadata)["id"]),
            planned=planned,
            finished=finished,
            planned_ends=self.ends(planned) or {},
            finished_ends=self.ends(finished) or {},
            start=self.start() or {},
        )

    def ends(self, batch_id: int | None) -> Offsets | None:
        """Where a batch was planned to end; None when the checkpoint does not say (any more)."""
        return self._offsets(f"offsets/{batch_id}")

    def start(self) -> Offsets | None:
        """Where the query began; None until Spark has written that down."""
        return self._offsets("sources/0/0")

    def set_aside(self, reason: str) -> str:
        """Move the checkpoint beside its place; gives where it is now. Nothing is there: nothing happens."""
        target = f"{self._path}.{reason}"
        if self._system.exists(self._at("")):
            number = 0
            while self._system.exists(self._jvm.org.apache.hadoop.fs.Path(target)):
                number += 1
                target = f"{self._path}.{reason}-{number}"
            self._system.rename(self._at(""), self._jvm.org.apache.hadoop.fs.Path(target))
        return target

    def _at(self, name: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(f"{self._path}/{name}" if name else self._path)

    def _newest(self, folder: str) -> int | None:
        if not self._system.exists(self._at(folder)):
            return None
        names = [str(file.getPath().getName()) for file in self._system.listStatus(self._at(folder))]
        return max((int(name) for name in names if name.isdecimal()), default=None)

    def _content(self, name: str) -> str | None:
        if not self._system.exists(self._at(name)):
            return None
        stream = self._system.open(self._at(name))
        try:
            return bytes(stream.readAllBytes()).decode("utf-8", "replace")
        finally:
            stream.close()

    def _offsets(self, name: str) -> dict[Partition, int] | None:
        """The last line of the file: topics, each with its partitions; what is cut short says nothing."""
        lines = (self._content(name) or "").strip().splitlines()
        try:
            content = json.loads(lines[-1]) if lines else None
            return (
                None
                if content is None
                else {
                    (topic, int(number)): int(offset)
                    for topic, partitions in content.items()
                    for number, offset in partitions.items()
                }
            )
        except (ValueError, AttributeError):
            return None
