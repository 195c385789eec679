"""A lake as a year of minutes leaves it: 525,600 commits, made directly.

Each table's log has what maintenance and log cleanup would leave: a checkpoint of the files that are there
(joined by hour or day, the newest small) and of a week's tombstones, older checkpoints and the single commits
that the log keeps. Data files are links to one small file: nothing here reads them but the newest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TOMBSTONES_KEPT = timedelta(days=7)
CHECKPOINT_EVERY = 100
_AFTER_CHECKPOINT = 50
"""Commits that no checkpoint has yet."""


@dataclass(frozen=True)
class Span:
    """A file's rows: from when to when, and the sequence numbers of its batches."""

    start: datetime
    end: datetime
    first: int
    last: int


class OldTable:
    """Makes the log of one table.

    Args:
        path: of the table; it has one commit of one row already, by the product.
        statistics: gives the smallest and largest values of a span's file, as Delta's log has them.
        partition: gives the partition values of a file that begins then.
        joined: how much one joined file holds; None for everything older than a day in one.
        log_kept: how long the log keeps commits.
    """

    def __init__(
        self,
        path: str,
        *,
        statistics: Any,
        partition: Any = lambda _: {},
        joined: timedelta | None = None,
        log_kept: timedelta = timedelta(days=7),
    ) -> None:
        self._table = Path(path)
        self._log = self._table / "_delta_log"
        self._statistics = statistics
        self._partition = partition
        self._joined = joined
        self._log_kept = log_kept
        self._name = self._table.parent.name
        table = DeltaTable(path)
        self._model = Path(table.file_uris()[0].removeprefix("file://"))
        self._bytes = self._model.stat().st_size

    def grow(self, start: datetime, end: datetime) -> int:
        """Replace the log by one of a commit a minute from start to end; gives the newest version."""
        minutes = (end - start) // MINUTE
        versions_before = DeltaTable(str(self._table)).version()
        newest = versions_before + minutes
        checkpoint = (newest - _AFTER_CHECKPOINT) // CHECKPOINT_EVERY * CHECKPOINT_EVERY
        kept_from = max(versions_before + 1, newest - self._log_kept // MINUTE)

        def span_of(version: int) -> Span:
            number = version - versions_before
            return Span(start + (number - 1) * MINUTE, start + number * MINUTE, number, number)

        adds = [self._add(span) for span in self._joined_spans(start, end, checkpoint - versions_before)]
        kept = {add["path"] for add in adds}
        gone = []
        for version in range(max(versions_before + 1, checkpoint - TOMBSTONES_KEPT // MINUTE), checkpoint):
            add = self._add(span_of(version), link=False)
            if add["path"] not in kept:
                gone.append(self._remove(add, end))
        checkpoints = range(
            -(-kept_from // CHECKPOINT_EVERY) * CHECKPOINT_EVERY, checkpoint + 1, CHECKPOINT_EVERY
        )
        self._checkpoint(adds, gone, checkpoint - versions_before, list(checkpoints) or [checkpoint])
        for version in range(kept_from, newest + 1):
            self._commit(version, span_of(version), version > checkpoint)
        for version in range(versions_before + 1):
            (self._log / f"{version:020d}.json").unlink(missing_ok=True)
        return newest

    def _joined_spans(self, start: datetime, end: datetime, until: int) -> Iterator[Span]:
        """What maintenance leaves: joined files of what is over, one file a minute of what is hot."""
        step = self._joined or DAY
        hot = (end - HOT_FOR[step]).replace(minute=0, second=0, microsecond=0)
        if step >= DAY:
            hot = hot.replace(hour=0)
        at = start
        while at < hot:
            upto = hot if self._joined is None else min(hot, _next(at, step))
            yield Span(at, upto, (at - start) // MINUTE + 1, (upto - start) // MINUTE)
            at = upto
        for number in range((at - start) // MINUTE + 1, until + 1):
            yield Span(start + (number - 1) * MINUTE, start + number * MINUTE, number, number)

    def _add(self, span: Span, *, link: bool = True) -> dict[str, Any]:
        partition: Mapping[str, str] = self._partition(span.start)
        folder = "".join(f"{name}={value}/" for name, value in partition.items())
        path = f"{folder}part-{span.first}-{span.last}.zstd.parquet"
        if link:
            (self._table / folder).mkdir(parents=True, exist_ok=True)
            os.link(self._model, self._table / path)
        smallest, largest = self._statistics(span)
        rows = span.last - span.first + 1
        return {
            "path": path,
            "partitionValues": dict(partition),
            "size": 200_000_000 if rows > 1 else self._bytes,
            "modificationTime": int(span.end.timestamp() * 1000),
            "dataChange": True,
            "stats": json.dumps(
                {"numRecords": rows, "minValues": smallest, "maxValues": largest, "nullCount": {}}
            ),
        }

    def _remove(self, add: Mapping[str, Any], at: datetime) -> dict[str, Any]:
        return {
            "path": add["path"],
            "deletionTimestamp": int(at.timestamp() * 1000),
            "dataChange": False,
            "extendedFileMetadata": True,
            "partitionValues": add["partitionValues"],
            "size": add["size"],
        }

    def _checkpoint(
        self, adds: list[dict[str, Any]], gone: list[dict[str, Any]], batches: int, versions: list[int]
    ) -> None:
        """Let delta-rs write the checkpoint, in a table beside this one, and take it over."""
        aside = self._table.parent / f"{self._name}-aside"
        log = aside / "_delta_log"
        log.mkdir(parents=True)
        first = (self._log / f"{0:020d}.json").read_text().splitlines()
        kept = [json.loads(line) for line in first]
        state = [action for action in kept if "protocol" in action or "metaData" in action]
        state.append({"txn": {"appId": f"query:{self._name}", "version": batches, "lastUpdated": 0}})
        state += [{"add": add} for add in adds] + [{"remove": remove} for remove in gone]
        _write(log / f"{0:020d}.json", [*state, {"commitInfo": {"timestamp": 0, "operation": "WRITE"}}])
        DeltaTable(str(aside)).create_checkpoint()
        made = log / f"{0:020d}.checkpoint.parquet"
        for version in versions:
            os.link(made, self._log / f"{version:020d}.checkpoint.parquet")
        about = json.loads((log / "_last_checkpoint").read_text())
        (self._log / "_last_checkpoint").write_text(json.dumps({**about, "version": versions[-1]}))
        for file in (*log.iterdir(), log, aside):
            file.rmdir() if file.is_dir() else file.unlink()

    def _commit(self, version: int, span: Span, is_after_checkpoint: bool) -> None:
        at = int(span.end.timestamp() * 1000)
        info = {
            "timestamp": at,
            "operation": "WRITE",
            "operationParameters": {"mode": "Append"},
            "userMetadata": f"query:{self._name}:{span.last}:0",
            "operationMetrics": {"numOutputRows": "1"},
        }
        file = self._log / f"{version:020d}.json"
        _write(
            file,
            [
                {"commitInfo": info},
                {"txn": {"appId": f"query:{self._name}", "version": span.last, "lastUpdated": at}},
                {"add": self._add(span, link=is_after_checkpoint)},
            ],
        )
        os.utime(file, (at / 1000, at / 1000))


HOT_FOR = {HOUR: HOUR, DAY: HOUR}
"""How long after its end a partition is left alone (see `compaction.HOT`)."""


def _next(at: datetime, step: timedelta) -> datetime:
    whole = at.replace(minute=0, second=0, microsecond=0)
    return whole + HOUR if step == HOUR else whole.replace(hour=0) + DAY


def _write(file: Path, actions: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(action) + "\n" for action in actions))
