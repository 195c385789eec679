"""The numbers of a micro-batch: one pass over its records in Spark, the sums in plain Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from medallion_contracts.errors import BalanceError, StreamError
from medallion_contracts.model import Dataset
from medallion_spark.verdicts.parse import key_mismatch

SILVER, DUPLICATE, LATE, REJECTED = "silver", "duplicate", "late", "rejected"
VERDICTS = (SILVER, DUPLICATE, LATE, REJECTED)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Summary:
    """What a batch is made of.

    `sources` has a row for each Kafka partition and task: `topic`, `partition`, `task`, `rows`, each
    verdict's count, `key_mismatch`, `with_unknown`, `smallest_offset`, `largest_offset`, `largest_bytes` (of
    a record) and `watermark` (largest valid event time). `hours` has a row for each hour of event time that
    goes to silver: `hour` (since the epoch), `earliest` and `latest`.
    """

    sources: Sequence[Row]
    hours: pa.Table


_SUMS = ("rows", *VERDICTS, "key_mismatch", "with_unknown")
_ENDS = {"smallest_offset": "min", "largest_offset": "max", "largest_bytes": "max", "watermark": "max"}


def summarise(records: DataFrame, dataset: Dataset) -> Summary:
    """Count a batch by Kafka partition and task, and by hour of event time.

    Args:
        records: of `parse_records`, with `verdict` and `task`.
        dataset: its contracts.
    """
    event_time = F.col(f"fields.{dataset.event_time}")
    to_silver = F.col("verdict") == SILVER
    hour = F.when(to_silver, F.floor(F.unix_seconds(event_time) / 3600)).alias("hour")
    numbers = [
        F.count(F.lit(1)).alias("rows"),
        *(F.count_if(F.col("verdict") == verdict).alias(verdict) for verdict in VERDICTS),
        F.count_if(key_mismatch(dataset)).alias("key_mismatch"),
        F.count_if(F.size("unknown") > 0).alias("with_unknown"),
        F.min("offset").alias("smallest_offset"),
        F.max("offset").alias("largest_offset"),
        F.max(_bytes()).alias("largest_bytes"),
        F.max("event_time").alias("watermark"),
        F.min(F.when(to_silver, event_time)).alias("earliest"),
        F.max(F.when(to_silver, event_time)).alias("latest"),
    ]
    return summary_of(records.groupBy("topic", "partition", "task", hour).agg(*numbers).toArrow())


def summary_of(groups: pa.Table) -> Summary:
    """Sum up groups by Kafka partition, task and hour: a history may bring one for each of its records."""
    wanted = {**dict.fromkeys(_SUMS, "sum"), **_ENDS}
    keys = ["topic", "partition", "task"]
    sources = groups.group_by(keys).aggregate(list(wanted.items()))
    sources = sources.select([*keys, *(f"{name}_{how}" for name, how in wanted.items())])
    hours = groups.filter(pc.field("hour").is_valid()).group_by("hour")
    hours = hours.aggregate([("earliest", "min"), ("latest", "max")])
    return Summary(
        sources.rename_columns([*keys, *wanted]).to_pylist(),
        hours.select(["hour", "earliest_min", "latest_max"]).rename_columns(["hour", "earliest", "latest"]),
    )


_HEADER_BYTES = 64
"""What a header takes beside its key and value, in rows and in Arrow."""


def _bytes() -> Column:
    """Bytes of a record: its key, value and headers."""
    headers = F.aggregate(
        "headers",
        F.lit(0),
        lambda so_far, header: so_far + _length(header["key"]) + _length(header["value"]) + _HEADER_BYTES,
    )
    return _length(F.col("key")) + _length(F.col("value")) + F.coalesce(headers, F.lit(0))


def _length(value: Column) -> Column:
    return F.coalesce(F.octet_length(value), F.lit(0))


def find_holes(records: DataFrame, where: tuple[str, int]) -> list[range]:
    """The offsets between a batch's first and last record of a partition at which it has none.

    Args:
        records: of the batch.
        where: topic and partition.
    """
    mine = records.where((F.col("topic") == where[0]) & (F.col("partition") == where[1]))
    offsets = np.sort(mine.select("offset").toArrow()["offset"].to_numpy())
    ends = np.flatnonzero(np.diff(offsets) > 1)
    return [range(int(offsets[end]) + 1, int(offsets[end + 1])) for end in ends]


@dataclass(frozen=True)
class BatchCounts:
    """Counts of a batch."""

    read: int
    verdicts: Mapping[str, int]
    key_mismatch: int
    with_unknown: int

    @property
    def quarantine(self) -> int:
        """Rows that quarantine gets."""
        return self.verdicts[LATE] + self.verdicts[REJECTED]

    def after_repeats(self, repeats: Mapping[str, int]) -> BatchCounts:
        """The counts when so many candidates turned out to be duplicates and conflicts."""
        duplicates, conflicts = repeats.get("duplicate", 0), repeats.get("conflict", 0)
        verdicts = dict(self.verdicts)
        verdicts[SILVER] -= duplicates + conflicts
        verdicts[DUPLICATE] += duplicates
        verdicts[REJECTED] += conflicts
        return BatchCounts(self.read, verdicts, self.key_mismatch, self.with_unknown)


def count(rows: Sequence[Row]) -> BatchCounts:
    """The counts of a batch, from the sources of its summary."""

    def total(name: str) -> int:
        return sum(row[name] for row in rows)

    return BatchCounts(
        total("rows"),
        {verdict: total(verdict) for verdict in VERDICTS},
        total("key_mismatch"),
        total("with_unknown"),
    )


def check_one_task_each(rows: Sequence[Row]) -> None:
    """Lateness was judged along one task for each Kafka partition.

    Raises:
        StreamError: a partition was read by several tasks.
    """
    tasks: dict[tuple[str, int], set[int]] = {}
    for row in rows:
        tasks.setdefault((row["topic"], row["partition"]), set()).add(row["task"])
    split = [f"{topic}-{partition}" for (topic, partition), ids in tasks.items() if len(ids) > 1]
    if split:
        raise StreamError(
            f"{', '.join(sorted(split))} was read by several tasks, so lateness was judged wrongly: "
            "remove the source option minPartitions"
        )


def check_balance(numbers: BatchCounts) -> None:
    """Each record read has one verdict.

    Raises:
        BalanceError: names the counts.
    """
    total = sum(numbers.verdicts.values())
    if numbers.read != total or min(numbers.verdicts.values()) < 0:
        counts = ", ".join(f"{verdict} {n}" for verdict, n in numbers.verdicts.items())
        raise BalanceError(f"{numbers.read} records were read, but the verdicts are {counts}: {total} in all")


def check_written(table: str, written: int, expected: int) -> None:
    """The table gets, or has got, as many rows of the batch as there are verdicts for it.

    Raises:
        BalanceError: names the counts.
    """
    if written != expected:
        raise BalanceError(f"{table} has {written} rows of the batch, the verdicts say {expected}")
