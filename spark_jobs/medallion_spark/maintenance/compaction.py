"""Joins the small files of a Delta table, where its partitions no longer grow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import pyarrow as pa
from deltalake import DeltaTable, WriterProperties

FILE_BYTES = 128 * 1024 * 1024
"""What a compacted file is aimed at."""

SMALL_BYTES = FILE_BYTES * 3 // 4
"""A larger file is good enough: its partition is not rewritten every day for one small neighbour."""

HOT = timedelta(hours=1)
"""A partition is left alone until its hour (or day) has been over for this long: late rows still come."""

Values = tuple[int | date, ...]
Filters = list[tuple[str, str, str | list[str]]]


def compact(log: DeltaTable, now: datetime) -> int:
    """Join small files of what is no longer hot; gives the number of files that were replaced.

    Args:
        log: of the table.
        now: UTC.

    Raises:
        CommitFailedError: another writer removed files at the same time.
    """
    columns = tuple(log.metadata().partition_columns)
    files = pa.table(log.get_add_actions(flatten=True))
    worth = worth_compacting(files, columns, now)
    replaced = 0
    for filters in partition_filters(worth, columns):
        metrics = log.optimize.compact(
            partition_filters=filters,
            target_size=FILE_BYTES,
            writer_properties=WriterProperties(compression="ZSTD", compression_level=1),
        )
        replaced += int(metrics["numFilesRemoved"])
    return replaced


def worth_compacting(files: pa.Table, columns: Sequence[str], now: datetime) -> list[Values]:
    """Partitions that no longer grow and have several small files, in order.

    Args:
        files: `size_bytes` and `partition.<column>` of each file.
        columns: that the table is partitioned by.
        now: UTC.
    """
    small = files.filter(pa.compute.field("size_bytes") < SMALL_BYTES)
    values = [small[f"partition.{name}"].to_pylist() for name in columns]
    counts: Counter[Values] = Counter(zip(*values, strict=True) if columns else [()] * len(small))
    return sorted(where for where, count in counts.items() if count > 1 and is_cold(where, now))


def is_cold(values: Values, now: datetime) -> bool:
    """Whether a partition has been over for long enough to grow no more.

    Understood are year, month, day and hour, a single date, and no partition at all (always cold: its small
    files are joined beside those that come).
    """
    match values:
        case ():
            return True
        case (int(year), int(month), int(day), int(hour)):
            end = datetime(year, month, day, hour, tzinfo=UTC) + timedelta(hours=1)
        case (date() as day_of_rows,):
            end = datetime.combine(day_of_rows, datetime.min.time(), UTC) + timedelta(days=1)
        case _:
            raise TypeError(f"a partition {values}: year, month, day and hour, or one date, are understood")
    return end + HOT <= now


def partition_filters(partitions: Sequence[Values], columns: Sequence[str]) -> Iterator[Filters | None]:
    """What to compact in one commit each: partitions that differ in the last column only.

    None stands for a table without partitions.
    """
    if not columns:
        yield from [None] * len(partitions)
        return
    for leading, group in groupby(partitions, key=lambda values: values[:-1]):
        equal: Filters = [(n, "=", str(value)) for n, value in zip(columns[:-1], leading, strict=True)]
        yield [*equal, (columns[-1], "in", [str(values[-1]) for values in group])]
