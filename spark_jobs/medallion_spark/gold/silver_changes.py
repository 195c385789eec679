"""Reads silver: the versions not yet published, all of it, and single versions that were let in again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from medallion_contracts.compile.arrow import arrow_schema
from medallion_contracts.compile.spark import spark_schema
from medallion_contracts.errors import GoldError
from medallion_contracts.model import Dataset
from medallion_spark.gold.job_errors import SPARK_ERRORS
from medallion_spark.lake.data_files import in_columns_of
from medallion_spark.session.lake_access import LakeAccess
from medallion_store.delta_history import added_files
from medallion_store.lake_login import delta_storage_options
from medallion_store.rejected_rows import RejectedRow

_GONE = (
    "DELTA_CHANGE_DATA_FILE_NOT_FOUND",
    "DELTA_CHANGE_TABLE_FEED_DISABLED",
    "DELTA_MISSING_CHANGE_DATA",
    "DELTA_FILE_NOT_FOUND",
    "DELTA_VERSION_NOT_FOUND",
    "FAILED_READ_FILE",
    "FileNotFoundException",
)


class ChangesGone(GoldError):
    """The rows of the versions asked for can no longer be told apart; all of silver still can be read."""


def read_changes(spark: SparkSession, path: str, after: int, to: int) -> DataFrame:
    """Rows that the versions after `after` up to `to` inserted; see `materialize` for when they are gone."""
    return (
        spark.read.format("delta")
        .option("readChangeFeed", "true")
        .option("startingVersion", after + 1)
        .option("endingVersion", to)
        .load(path)
        .where(F.col("_change_type") == "insert")
        .drop("_change_type", "_commit_version", "_commit_timestamp")
    )


def read_few_changes(
    spark: SparkSession, lake: LakeAccess, path: str, dataset: Dataset, after: int, to: int
) -> DataFrame:
    """The same rows, read by the driver from the files that the versions' commits name.

    The change feed takes Spark ten seconds to plan, whatever it holds; this takes one.

    Args:
        spark: the session.
        lake: access to the lake.
        path: of silver.
        dataset: whose silver it is.
        after: the version before the first.
        to: the last version.

    Returns:
        silver's columns but those that name its partitions; null where a file is older than the column.

    Raises:
        ChangesGone: a file or a commit was vacuumed, or is not as the stream writes them.
    """
    storage = delta_storage_options(lake.login)
    files = added_files(path, storage, after, to)
    if files is None:
        raise ChangesGone("the new versions of silver can no longer be read one by one")
    whole = arrow_schema(dataset.silver)
    schema = pa.schema([field for field in whole if field.name not in dataset.silver.partitioned_by])
    folder = PyFileSystem(DeltaStorageHandler(path, storage))
    tables = [schema.empty_table()]
    try:
        for name in files:
            with folder.open_input_file(name) as content:
                file = pq.ParquetFile(content)
                there = [column for column in schema.names if column in file.schema_arrow.names]
                tables += [
                    pa.Table.from_batches([in_columns_of(rows, schema)])
                    for rows in file.iter_batches(columns=there)
                ]
    except FileNotFoundError as error:
        raise ChangesGone("the new versions of silver can no longer be read one by one") from error
    return spark.createDataFrame(pa.concat_tables(tables).combine_chunks())


def materialize(changes: Callable[[], DataFrame]) -> DataFrame:
    """Read changes once, now, and hold them in memory.

    Raises:
        ChangesGone: files or log entries of these versions were vacuumed, or the change feed is off.
    """
    try:
        held = changes().persist()
        held.count()
    except SPARK_ERRORS as error:
        if any(mark in str(error) for mark in _GONE):
            raise ChangesGone("the new versions of silver can no longer be read one by one") from error
        raise
    return held


def read_all(spark: SparkSession, path: str, version: int) -> DataFrame:
    """All of silver at a version."""
    return spark.read.format("delta").option("versionAsOf", version).load(path)


def read_single(
    spark: SparkSession, path: str, version: int, dataset: Dataset, rows: Sequence[RejectedRow]
) -> DataFrame:
    """The silver rows named, at a version; only the partitions they lie in are read."""
    wanted = rejected_keys(spark, dataset, rows)
    partitions = [dataset.silver.column(name) for name in dataset.silver.partitioned_by]
    for column in partitions:
        wanted = wanted.withColumn(column.name, F.expr(str(column.transform)))
    on = [dataset.key, dataset.event_time, *(column.name for column in partitions)]
    silver = read_all(spark, path, version)
    return silver.join(F.broadcast(wanted), on, "left_semi")


def exclude_rejected(
    frame: DataFrame, spark: SparkSession, dataset: Dataset, rows: Sequence[RejectedRow]
) -> DataFrame:
    """Versions less those named."""
    if not rows:
        return frame
    return frame.join(
        F.broadcast(rejected_keys(spark, dataset, rows)), [dataset.key, dataset.event_time], "left_anti"
    )


def rejected_keys(spark: SparkSession, dataset: Dataset, rows: Sequence[RejectedRow]) -> DataFrame:
    """Key and event time of rejected rows as a frame, each once."""
    types = spark_schema(dataset.silver)
    schema = [types[dataset.key], types[dataset.event_time]]
    is_text = isinstance(schema[0].dataType, T.StringType)
    values = sorted({(row.key if is_text else int(row.key), row.event_time) for row in rows})
    return spark.createDataFrame(values, type(types)(schema))
