"""Where a record's row lies in silver, and which of silver's files a micro-batch may repeat."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column
from pyspark.sql import functions as F

from medallion_contracts.errors import StreamError
from medallion_contracts.model import Dataset

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


def touched_partitions(hours: pa.Table, dataset: Dataset) -> pa.Table:
    """The partitions of silver that a batch touches, each of them.

    Args:
        hours: of the batch's summary.
        dataset: its contracts.

    Returns:
        `partition.<column>`, and `earliest` and `latest` of the event times that the batch brings there.
    """
    parts = partition_parts(dataset)
    names = [f"partition.{name}" for name in parts]
    values = [pc.call_function(part, [hours["earliest"]]) for part in parts.values()]
    everywhere = pa.table([*values, hours["earliest"], hours["latest"]], [*names, "earliest", "latest"])
    found = everywhere.group_by(names).aggregate([("earliest", "min"), ("latest", "max")])
    return found.select([*names, "earliest_min", "latest_max"]).rename_columns([*names, "earliest", "latest"])


def touched_files(files: pa.Table, touched: pa.Table, time: str) -> pa.Table:
    """Those of silver's files that may hold rows of the touched partitions in their ranges of event time.

    The cost follows the number of files and of partitions, however many they are.

    Args:
        files: of `LakeTable.files`.
        touched: of `touched_partitions`.
        time: name of the event time.
    """
    if not len(files) or not len(touched):
        return files.slice(0, 0)
    touched = touched.take(pa.array(np.argsort(_codes(touched, touched))))
    codes, here = _codes(touched, touched), _codes(files, touched)
    at = np.minimum(np.searchsorted(codes, here), len(codes) - 1)
    # A file without statistics may hold anything.
    smallest = _micros(files, f"min.{time}", np.iinfo(np.int64).min)
    largest = _micros(files, f"max.{time}", np.iinfo(np.int64).max)
    rounding = STATISTICS_ROUNDING // timedelta(microseconds=1)
    earliest, latest = _micros(touched, "earliest", 0)[at], _micros(touched, "latest", 0)[at]
    return files.filter(
        pa.array((codes[at] == here) & (smallest <= latest) & (largest > earliest - rounding))
    )


def _codes(table: pa.Table, touched: pa.Table) -> npt.NDArray[np.int64]:
    """The partition of each row as one number: years, months, days and hours have at most four digits."""
    codes = np.zeros(len(table), dtype=np.int64)
    for name in touched.column_names:
        if name.startswith("partition."):
            codes = codes * 10_000 + table[name].cast(pa.int64()).fill_null(-1).to_numpy()
    return codes


def _micros(table: pa.Table, name: str, unknown: int) -> npt.NDArray[np.int64]:
    if name not in table.column_names:
        return np.full(len(table), unknown, dtype=np.int64)
    times = table[name].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    micros: npt.NDArray[np.int64] = times.fill_null(unknown).to_numpy()
    return micros
