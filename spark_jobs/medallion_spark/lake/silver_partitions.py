"""Where a record's row lies in silver, and which of silver's files a micro-batch may repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import and_, or_
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column
from pyspark.sql import functions as F

from medallion_contracts.errors import StreamError
from medallion_contracts.model import Dataset

MOST_TOUCHED = 200
"""Most partitions of silver that a look-up names one by one."""

STATISTICS_ROUNDING = timedelta(milliseconds=1)
"""Spark and delta-rs cut the largest time of a file to whole milliseconds when they compact it; Delta's own
readers allow for that too."""

PARTS = ("year", "month", "day", "hour")
"""Functions of the event time that silver may be partitioned by: the same names in Spark and in Python."""


def partition_parts(dataset: Dataset) -> dict[str, str]:
    """The function of the event time behind each of silver's partition columns, from its transformLogic.

    Raises:
        StreamError: a partition column is made of something else.
    """
    parts: dict[str, str] = {}
    for name in dataset.silver.partitioned_by:
        logic = dataset.silver.column(name).transform or ""
        function, _, argument = logic.rstrip(")").partition("(")
        if argument.strip() != dataset.event_time or function not in PARTS:
            raise StreamError(
                f"silver is partitioned by {name} = {logic!r}: "
                f"it can be {', '.join(PARTS)} of {dataset.event_time}"
            )
        parts[name] = function
    return parts


def silver_partition(dataset: Dataset) -> dict[str, Column]:
    """Silver's partition columns from the `fields` of a record (UTC)."""
    utc_time = F.col(f"fields.{dataset.event_time}")
    return {name: F.call_function(part, utc_time) for name, part in partition_parts(dataset).items()}


@dataclass(frozen=True)
class Touched:
    """One partition of silver that a batch touches, and the event times it brings there."""

    values: tuple[int, ...]
    earliest: datetime
    latest: datetime


def touched_partitions(
    rows: Sequence[Mapping[str, Any]], dataset: Dataset
) -> tuple[tuple[str, ...], list[Touched]]:
    """Which partitions of silver the batch touches, coarser (days, months, years) where they are very many.

    Args:
        rows: of `batch_balance.summarise`.
        dataset: its contracts.

    Returns:
        names of the leading partition columns, and one `Touched` for each combination of their values.
    """
    parts = partition_parts(dataset)
    names = tuple(parts)
    spans = [(row["earliest"], row["latest"]) for row in rows if row["earliest"] is not None]
    while True:
        groups: dict[tuple[int, ...], list[tuple[datetime, datetime]]] = {}
        for span in spans:
            groups.setdefault(tuple(getattr(span[0], parts[name]) for name in names), []).append(span)
        if len(groups) <= MOST_TOUCHED or not names:
            return names, [
                Touched(values, min(first for first, _ in group), max(last for _, last in group))
                for values, group in sorted(groups.items())
            ]
        names = names[:-1]


def touched_files(files: pa.Table, names: Sequence[str], touched: Sequence[Touched], time: str) -> list[str]:
    """Paths of silver's files that may hold rows of the touched partitions in their ranges of event time.

    Args:
        files: of `LakeTable.files`.
        names: of `touched_partitions`.
        touched: of `touched_partitions`.
        time: name of the event time.
    """
    if not len(files):
        return []
    smallest, largest = pc.field(f"min.{time}"), pc.field(f"max.{time}")
    conditions = []
    for one in touched:
        in_partition = [pc.field(f"partition.{n}") == v for n, v in zip(names, one.values, strict=True)]
        # A file without statistics may hold anything.
        in_range = [
            smallest.is_null() | (smallest <= pa.scalar(one.latest)),
            largest.is_null() | (largest > pa.scalar(one.earliest - STATISTICS_ROUNDING)),
        ]
        conditions.append(reduce(and_, [*in_partition, *in_range]))
    found: list[str] = files.filter(reduce(or_, conditions))["path"].to_pylist()
    return found
