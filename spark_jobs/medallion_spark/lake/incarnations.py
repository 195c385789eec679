"""Which log of its topic's name a record was in, as the lake's tables have it."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from medallion_contracts.model import INCARNATION


def with_incarnation(stored: DataFrame) -> DataFrame:
    """Rows of bronze, silver or quarantine with their incarnation: 0 in rows older than the column."""
    known = F.col(INCARNATION) if INCARNATION in stored.columns else F.lit(None)
    return stored.withColumn(INCARNATION, F.coalesce(known, F.lit(0)).cast("int"))


def incarnation_of(incarnations: Mapping[str, int]) -> Column:
    """The incarnation of a record by its column `topic`; 0 for topics that are not named."""
    found = F.lit(0)
    for topic, number in sorted(incarnations.items()):
        if number:
            found = F.when(F.col("topic") == topic, number).otherwise(found)
    return found.cast("int")
