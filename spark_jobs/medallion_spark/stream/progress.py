"""Lag and rates of the micro-batches that had data, for people and monitors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from medallion_spark.lake.table_log import WITHOUT_CLEANUP, TableLog, log_kept
from medallion_spark.stream.topic_log import HeldBack, Where

_PROPERTIES = log_kept(timedelta(days=2))  # rows are read, single commits are not
_MOMENT = pa.timestamp("us", tz="UTC")
PROGRESS_SCHEMA = pa.schema(
    [
        ("at", _MOMENT),
        ("query_id", pa.string()),
        ("batch_id", pa.int64()),
        ("input_rows", pa.int64()),
        ("input_rows_per_second", pa.float64()),
        ("processed_rows_per_second", pa.float64()),
        ("lag_records", pa.int64()),
        ("duration_ms", pa.map_(pa.string(), pa.int64())),
        ("held_back", pa.int64()),
        ("last_stable_offsets", pa.map_(pa.string(), pa.int64())),
    ]
)


class ProgressTable:
    """The progress table of one dataset."""

    def __init__(self, path: str, storage: Mapping[str, str]) -> None:
        self._path = path
        self._log = TableLog(path, storage)

    @property
    def path(self) -> str:
        """Where the table is."""
        return self._path

    def exists(self) -> bool:
        """Whether there is such a table."""
        return self._log.exists()

    def prepare(self) -> None:
        """Create the table unless it is there."""
        self._log.ensure(PROGRESS_SCHEMA, _PROPERTIES)

    def append(self, progress: Mapping[str, Any], held_back: Mapping[Where, HeldBack]) -> None:
        """Add one StreamingQueryProgress.

        Args:
            progress: as its JSON.
            held_back: what open transactions keep from being read; it is lag, too.
        """
        waiting = sum(held.offsets for held in held_back.values())
        row = {
            "at": datetime.now(UTC),
            "query_id": progress["id"],
            "batch_id": progress["batchId"],
            "input_rows": progress["numInputRows"],
            "input_rows_per_second": _number(progress.get("inputRowsPerSecond")),
            "processed_rows_per_second": _number(progress.get("processedRowsPerSecond")),
            "lag_records": lag_records(progress) + waiting,
            "duration_ms": list(progress.get("durationMs", {}).items()),
            "held_back": waiting,
            "last_stable_offsets": [
                (f"{topic}-{partition}", held.last_stable_offset)
                for (topic, partition), held in held_back.items()
            ],
        }
        write_deltalake(
            self._log.current(),
            pa.Table.from_pylist([row], schema=PROGRESS_SCHEMA),
            mode="append",
            schema_mode="merge",  # a table of before a column was added
            post_commithook_properties=WITHOUT_CLEANUP,
        )


def lag_records(progress: Mapping[str, Any]) -> int:
    """Offsets that the broker serves and the query has not read yet, over all partitions."""
    lag = 0
    for source in progress.get("sources", []):
        read, newest = _offsets(source.get("endOffset")), _offsets(source.get("latestOffset"))
        for topic, partitions in newest.items():
            done = read.get(topic, {})
            lag += sum(max(0, latest - done.get(partition, 0)) for partition, latest in partitions.items())
    return lag


def _offsets(value: object) -> dict[str, dict[str, int]]:
    parsed = json.loads(value) if isinstance(value, str) else value
    return parsed if isinstance(parsed, dict) else {}


def _number(value: object) -> float | None:
    """A rate; Spark says "NaN" or nothing for the first batch."""
    return float(value) if isinstance(value, int | float) else None
