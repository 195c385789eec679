"""Whether two states of a table hold the same rows, by Kafka coordinates."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


@dataclass(frozen=True)
class Differences:
    """Rows of the table as it was against what it should be; all 0 when it was right.

    `missing` were not there, `unexpected` should not have been, `repeated` were there more than once,
    `changed` had other values.
    """

    missing: int = 0
    unexpected: int = 0
    repeated: int = 0
    changed: int = 0

    @property
    def are_none(self) -> bool:
        """Whether the table was as it should be."""
        return not any(asdict(self).values())


def compare_rows(
    wanted: DataFrame, present: DataFrame, coordinates: tuple[str, ...]
) -> tuple[Differences, int]:
    """Compare all columns of `wanted` row by row, in one shuffle of hashes.

    Args:
        wanted: the rows that should be there.
        present: the rows that are there.
        coordinates: names of the columns that name a Kafka record.

    Returns:
        the differences, and how many records `wanted` itself has more than once.
    """
    names = wanted.columns

    def hashed(rows: DataFrame, is_wanted: int) -> DataFrame:
        # A null leaves Spark's hash as it was, so where the nulls are is hashed too.
        content = F.xxhash64(*names, *(F.col(name).isNull() for name in names)).alias("content")
        return rows.select(*coordinates, content, F.lit(is_wanted).alias("is_wanted"))

    both = hashed(wanted, 1).unionAll(hashed(present, 0))
    records = both.groupBy(*coordinates).agg(
        F.sum("is_wanted").alias("wanted"),
        F.sum(1 - F.col("is_wanted")).alias("present"),
        (F.min("content") != F.max("content")).alias("differs"),
    )
    row = records.agg(
        F.count_if(F.expr("wanted > 0 AND present = 0")).alias("missing"),
        F.count_if(F.expr("wanted = 0")).alias("unexpected"),
        F.count_if(F.expr("present > 1")).alias("repeated"),
        F.count_if(F.expr("wanted > 0 AND present > 0 AND differs")).alias("changed"),
        F.count_if(F.expr("wanted > 1")).alias("wanted_twice"),
    ).collect()[0]
    counts = row.asDict()
    twice = int(counts.pop("wanted_twice"))
    return Differences(**counts), twice
