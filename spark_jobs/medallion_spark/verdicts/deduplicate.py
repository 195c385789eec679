"""Which accepted records repeat a version that silver or the same micro-batch already has.

Nearly all records are new, so a cheap look comes first: hashes of the keys (module `repeat_search`). Only
keys whose hash is there twice (repeats, or by chance) are compared exactly, and they may be all of them: a
re-delivery.
"""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from medallion_contracts.model import Dataset
from medallion_spark.lake.data_files import KEY_HASH

COORDINATES = ("topic", "partition", "offset", "incarnation")
"""Where a record is: an offset means something within one incarnation of its topic only."""

REPEATS = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("incarnation", pa.int32()),
        ("repeat", pa.string()),
    ]
)
"""What `find_repeats` and `find_superseded` give."""


def key_hash(dataset: Dataset) -> Column:
    """64-bit hash of the version's key, from a column `fields`."""
    return F.xxhash64(F.col(f"fields.{dataset.key}"), F.col(f"fields.{dataset.event_time}"))


def find_repeats(
    candidates: DataFrame, silver: DataFrame | None, suspects: DataFrame, dataset: Dataset
) -> DataFrame:
    """The candidates that silver or an earlier candidate makes a repeat.

    The first of a key is silver's row, else the candidate with the smallest offset of the smallest (topic,
    partition). A later one with the same content is a `duplicate`, with other content a `conflict`. A row of
    silver with a candidate's own coordinates is that candidate, not another record: it is left out.

    Args:
        candidates: coordinates and `fields`, complete.
        silver: coordinates and `fields` of silver's rows; None when there are none.
        suspects: one column KEY_HASH, distinct: only keys of these hashes are compared.
        dataset: its contracts.

    Returns:
        coordinates and `repeat`, one row for each repeat.
    """
    columns = [*COORDINATES, "fields"]

    def suspected(rows: DataFrame, origin: int) -> DataFrame:
        hashed = rows.select(*columns, F.lit(origin).alias("origin"), key_hash(dataset).alias(KEY_HASH))
        return hashed.join(suspects, KEY_HASH, "left_semi").drop(KEY_HASH)

    rows = suspected(candidates, 1)
    versions = Window.partitionBy(f"fields.{dataset.key}", f"fields.{dataset.event_time}")
    if silver is not None:
        everything = rows.unionAll(suspected(silver, 0))
        is_candidate = F.max("origin").over(Window.partitionBy(*COORDINATES)) == 1
        rows = everything.withColumn("is_candidate", is_candidate).where("origin = 1 OR NOT is_candidate")
    in_order = versions.orderBy("origin", *COORDINATES)
    ranked = rows.select(
        *columns,
        "origin",
        F.row_number().over(in_order).alias("rank"),
        F.first("fields").over(in_order).alias("first"),
    )
    return ranked.where("origin = 1 AND rank > 1").select(
        *COORDINATES,
        F.when(F.col("fields").eqNullSafe(F.col("first")), F.lit("duplicate"))
        .otherwise(F.lit("conflict"))
        .alias("repeat"),
    )


def find_superseded(accepted: DataFrame, dataset: Dataset) -> DataFrame:
    """The accepted records that are not their entity's newest version in the batch (`--deduplicate latest`).

    Args:
        accepted: coordinates and `fields`, without repeats.
        dataset: its contracts.

    Returns:
        coordinates and `repeat` (`duplicate`).
    """
    newest = Window.partitionBy(f"fields.{dataset.key}").orderBy(
        F.col(f"fields.{dataset.event_time}").desc(), *COORDINATES
    )
    return (
        accepted.select(*COORDINATES, F.row_number().over(newest).alias("rank"))
        .where("rank > 1")
        .select(*COORDINATES, F.lit("duplicate").alias("repeat"))
    )
