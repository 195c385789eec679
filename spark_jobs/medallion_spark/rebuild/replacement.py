"""Replaces a table's content by one commit, once a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from medallion_contracts.errors import StreamError
from medallion_spark.lake.commit_retry import retried
from medallion_spark.lake.incarnations import with_incarnation
from medallion_spark.lake.tables import LakeTable
from medallion_spark.rebuild.own_commits import OwnCommits, own_commits, transaction_id


def read_version(spark: SparkSession, table: LakeTable, version: int) -> DataFrame:
    """The table's rows at a version; none where there was no table (-1).

    Pinned: a plan that is computed again after a commit of ours must read what it read before.
    """
    if version < 0:
        return spark.createDataFrame([], from_arrow_schema(table.schema))
    return with_incarnation(spark.read.format("delta").option("versionAsOf", version).load(table.path))


@dataclass(frozen=True)
class Replacement:
    """Replaces the content of tables for one run; `guard` is called right before each commit."""

    spark: SparkSession
    run: str
    guard: Callable[[], None]

    def found(self, table: LakeTable) -> OwnCommits:
        """What this run has done to the table already."""
        return own_commits(table, self.run)

    def as_it_was(self, table: LakeTable) -> DataFrame:
        """The rows that this run found, by whichever try of it."""
        return read_version(self.spark, table, self.found(table).before)

    def overwrite(self, table: LakeTable, rows: DataFrame) -> None:
        """Replace the content by one commit (which creates a table that is gone), unless the run did already.

        Args:
            table: to be replaced.
            rows: of its schema, laid out as the files shall be.

        Raises:
            LeaseError: another job writes by now.
            StreamError: Delta left the commit out.
        """
        found = self.found(table)
        if found.tries:
            return
        self.guard()
        writer = (
            rows.write.format("delta")
            .mode("overwrite")
            .option("txnAppId", transaction_id(self.run, table))
            .option("txnVersion", 0)
            .option("userMetadata", self.run)
        )
        if found.before < 0:
            # Content and properties come in the first commit: no reader, and no kill, finds an empty table.
            writer = writer.partitionBy(*table.partitioned_by).options(**table.configuration)
        retried(lambda: writer.save(table.path), table.path)
        if table.version() <= found.before or not self.found(table).tries:
            raise StreamError(
                f"{table.path} is at version {table.version()} as before: its replacement was not committed; "
                "trigger a new run of the rebuild"
            )
