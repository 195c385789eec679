"""The rows that one micro-batch has in a table, without a scan of the table."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_spark.lake.commits import TableCommit
from medallion_spark.lake.data_files import read_data_files
from medallion_spark.lake.tables import LakeTable

BATCH_COLUMNS = ("_query_id", "_batch_id")


def batch_rows(
    spark: SparkSession,
    table: LakeTable,
    commit: TableCommit,
    query_id: str,
    batch_id: int,
    columns: Sequence[str],
) -> DataFrame:
    """Columns of the batch's rows.

    They are in the files that the batch's commit added; when maintenance has joined some of those since, in
    the files that its partitions have now.

    Args:
        spark: the session.
        table: that holds the batch.
        commit: of the batch.
        query_id: of the batch.
        batch_id: of the batch.
        columns: none that the table is partitioned by.
    """
    wanted = list(dict.fromkeys((*columns, *BATCH_COLUMNS)))
    rows = read_data_files(spark, table.layout, files_of(commit, table.files()), wanted)
    mine = rows.where((F.col("_query_id") == query_id) & (F.col("_batch_id") == batch_id))
    return mine.select(*columns)


def files_of(commit: TableCommit, files: pa.Table) -> list[str]:
    """Paths of the table's files that hold the rows of a commit.

    Args:
        commit: one that only added files.
        files: of `LakeTable.files`.
    """
    paths = files["path"].to_pylist() if len(files) else []
    added = {path for path, _ in commit.added}
    if added <= set(paths):
        return sorted(added)
    names = [name for name in files.column_names if name.startswith("partition.")]
    touched = {tuple(values.get(name.partition(".")[2]) for name in names) for _, values in commit.added}
    here = zip(*(files[name].to_pylist() for name in names), strict=True) if names else [()] * len(paths)
    return [
        path
        for path, values in zip(paths, here, strict=True)
        if tuple(None if value is None else str(value) for value in values) in touched
    ]
