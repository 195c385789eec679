"""The numbers of a micro-batch: one pass over its records in Spark, the sums in plain Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from medallion_contracts.errors import BalanceError, StreamError
from medallion_contracts.model import Dataset
from medallion_spark.stream.ledger import Source, Sources
from medallion_spark.stream.parsing import key_mismatch

SILVER, DUPLICATE, LATE, REJECTED = "silver", "duplicate", "late", "rejected"
VERDICTS = (SILVER, DUPLICATE, LATE, REJECTED)

MOST_TOUCHED = 200
"""Most partitions of silver that a look-up names one by one."""

Row = Mapping[str, Any]


def summarise(records: DataFrame, dataset: Dataset) -> list[Row]:
    """The numbers by Kafka partition, task and silver partition.

    Args:
        records: of `parse_records`, with `verdict` and `task`.
        dataset: its contracts.

    Returns:
        rows with `topic`, `partition`, `task`, the partition columns of silver (null for what does not go
        there), `rows`, each verdict's count, `key_mismatch`, `with_unknown`, smallest and largest `offset`,
        `watermark` (largest valid event time), `earliest` and `latest` event time of what goes to silver.
    """
    event_time = F.col(f"fields.{dataset.event_time}")
    to_silver = F.col("verdict") == SILVER
    of_silver = [F.when(to_silver, value).alias(name) for name, value in silver_partition(dataset).items()]
    numbers = [
        F.count(F.lit(1)).alias("rows"),
        *(F.count_if(F.col("verdict") == verdict).alias(verdict) for verdict in VERDICTS),
        F.count_if(key_mismatch(dataset)).alias("key_mismatch"),
        F.count_if(F.size("unknown") > 0).alias("with_unknown"),
        F.min("offset").alias("smallest_offset"),
        F.max("offset").alias("largest_offset"),
        F.max("event_time").alias("watermark"),
        F.min(F.when(to_silver, event_time)).alias("earliest"),
        F.max(F.when(to_silver, event_time)).alias("latest"),
    ]
    groups = records.groupBy("topic", "partition", "task", *of_silver).agg(*numbers)
    rows: list[Row] = groups.toArrow().to_pylist()
    return rows


def silver_partition(dataset: Dataset) -> dict[str, Column]:
    """How silver's partition columns come from the `fields` of a record, by the contract's transformLogic.

    transformLogic names the event's columns, which here are inside the struct: it is used as a lambda of one
    field only, the event time.
    """
    moment = F.col(f"fields.{dataset.event_time}")
    parts: dict[str, Column] = {}
    for name in dataset.silver.partitioned_by:
        logic = dataset.silver.column(name).transform or ""
        function, _, argument = logic.rstrip(")").partition("(")
        if argument.strip() != dataset.event_time:
            raise StreamError(
                f"silver is partitioned by {name} = {logic!r}: only functions of {dataset.event_time} can be"
            )
        parts[name] = F.call_function(function, moment)
    return parts


@dataclass(frozen=True)
class Touched:
    """One partition of silver that a batch touches, and the event times it brings there."""

    values: tuple[object, ...]
    earliest: datetime
    latest: datetime


def touched_partitions(rows: Sequence[Row], dataset: Dataset) -> tuple[tuple[str, ...], list[Touched]]:
    """Which partitions of silver the batch touches, coarser (days, months, years) where they are very many.

    Returns:
        names of the leading partition columns, and one `Touched` for each combination of their values.
    """
    names = dataset.silver.partitioned_by
    found = [row for row in rows if row["earliest"] is not None]
    while True:
        groups: dict[tuple[object, ...], list[Row]] = {}
        for row in found:
            groups.setdefault(tuple(row[name] for name in names), []).append(row)
        if len(groups) <= MOST_TOUCHED or not names:
            return names, [
                Touched(values, min(row["earliest"] for row in group), max(row["latest"] for row in group))
                for values, group in sorted(groups.items(), key=lambda item: repr(item[0]))
            ]
        names = names[:-1]


def touched_rows(silver: DataFrame, names: Sequence[str], touched: Sequence[Touched], time: str) -> DataFrame:
    """Silver's rows in the touched partitions and ranges of event time: other files are not opened."""
    if names:
        in_partition = [
            _all([F.col(name) == F.lit(value) for name, value in zip(names, one.values, strict=True)])
            for one in touched
        ]
        silver = silver.where(_any(in_partition))
    return silver.where(
        _any([F.col(time).between(F.lit(one.earliest), F.lit(one.latest)) for one in touched])
    )


def _all(conditions: Sequence[Column]) -> Column:
    return reduce(lambda left, right: left & right, conditions)


def _any(conditions: Sequence[Column]) -> Column:
    return reduce(lambda left, right: left | right, conditions)


@dataclass(frozen=True)
class Numbers:
    """Counts of a batch."""

    read: int
    verdicts: Mapping[str, int]
    key_mismatch: int
    with_unknown: int

    @property
    def quarantine(self) -> int:
        """Rows that quarantine gets."""
        return self.verdicts[LATE] + self.verdicts[REJECTED]

    def after_repeats(self, repeats: Mapping[str, int]) -> Numbers:
        """The counts when so many candidates turned out to be duplicates and conflicts."""
        duplicates, conflicts = repeats.get("duplicate", 0), repeats.get("conflict", 0)
        verdicts = dict(self.verdicts)
        verdicts[SILVER] -= duplicates + conflicts
        verdicts[DUPLICATE] += duplicates
        verdicts[REJECTED] += conflicts
        return Numbers(self.read, verdicts, self.key_mismatch, self.with_unknown)


def count(rows: Sequence[Row]) -> Numbers:
    """The counts of a batch, from `summarise`."""

    def total(name: str) -> int:
        return sum(row[name] for row in rows)

    return Numbers(
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


def account(
    rows: Sequence[Row], carried: Sources, earliest: Callable[[str], Mapping[int, int]]
) -> dict[tuple[str, int], Source]:
    """What the batch did with each Kafka partition's offsets.

    Args:
        rows: of `summarise`.
        carried: of the ledger's newest row.
        earliest: asks the broker for the first offset it still has, by partition of a topic; only called when
            offsets are missing at the beginning.

    Raises:
        BalanceError: offsets were read that an earlier batch had accounted for, or more than there can be.
    """
    sources = {
        key: Source(key[0], key[1], source.until_offset, source.until_offset, watermark=source.watermark)
        for key, source in carried.items()
    }
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["topic"], row["partition"]), []).append(row)
    for (topic, partition), group in groups.items():
        first = min(row["smallest_offset"] for row in group)
        until = max(row["largest_offset"] for row in group) + 1
        read = sum(row["rows"] for row in group)
        before = sources.get((topic, partition))
        expected = before.from_offset if before else first
        missing = until - expected - read
        if first < expected or missing < 0:
            raise BalanceError(
                f"{topic}-{partition}: {read} records at offsets {first} to {until - 1}, "
                f"but the ledger says all before {expected} are done: offsets were read twice"
            )
        lost = 0
        if first > expected:
            lost = max(0, min(earliest(topic).get(partition, expected), first) - expected)
        marks = [row["watermark"] for row in group] + [before.watermark if before else None]
        known = [mark for mark in marks if mark is not None]
        sources[topic, partition] = Source(
            topic, partition, expected, until, read, missing - lost, lost, max(known, default=None)
        )
    return sources


def check_balance(numbers: Numbers) -> None:
    """Each record read has one verdict.

    Raises:
        BalanceError: names the counts.
    """
    total = sum(numbers.verdicts.values())
    if numbers.read != total or min(numbers.verdicts.values()) < 0:
        counts = ", ".join(f"{verdict} {n}" for verdict, n in numbers.verdicts.items())
        raise BalanceError(f"{numbers.read} records were read, but the verdicts are {counts}: {total} in all")


def check_committed(table: str, committed: int, expected: int) -> None:
    """The table holds as many rows of the batch as there are verdicts for it.

    Raises:
        BalanceError: names the counts.
    """
    if committed != expected:
        raise BalanceError(f"{table} committed {committed} rows of the batch, the verdicts say {expected}")
