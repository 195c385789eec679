"""OPTIMIZE and VACUUM of one Delta table, beside whoever writes it.

The stream only appends, and an append and a compaction do not exclude each other: Delta commits both. What
does conflict (a rebuild's overwrite, another maintenance run) is retried. Killed half-way: a compaction that
did not commit leaves files that no version names, and a later VACUUM removes them; a VACUUM that did not end
is simply done again, as it deletes only what no kept version needs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from medallion_spark.conflicts import retried

FILE_BYTES = 128 * 1024 * 1024
"""What a compacted file is aimed at."""

HOT = timedelta(hours=1)
"""A partition is left alone until its hour (or day) has been over for this long: late rows still come."""

_MARGIN = timedelta(hours=1)
"""Between a commit's own clock and those of the files it names."""

_SETTINGS = {
    "spark.databricks.delta.optimize.maxFileSize": str(FILE_BYTES),
    # A file of three quarters of the aim is good enough: not rewritten every day for one small neighbour.
    "spark.databricks.delta.optimize.minFileSize": str(FILE_BYTES * 3 // 4),
    # Delta's own check only knows its default; the retention here also covers what gold has yet to read.
    "spark.databricks.delta.retentionDurationCheck.enabled": "false",
    # The number of files deleted is read from the history.
    "spark.databricks.delta.vacuum.logging.enabled": "true",
    "spark.databricks.delta.vacuum.parallelDelete.enabled": "true",
    # VACUUM lists in so many tasks, however few folders there are; Spark's default is 10,000.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "16",
}


@dataclass(frozen=True)
class Upkeep:
    """What was done to one table; `vacuum_skipped` says why nothing was deleted, if so."""

    table: str
    files_before: int
    files_after: int
    files_compacted: int
    files_deleted: int
    retention_hours: float
    vacuum_skipped: str | None
    attempts: int
    seconds: float


def maintain_table(
    spark: SparkSession,
    path: str,
    *,
    now: datetime,
    retention: timedelta,
    keep_from_version: int | None = None,
) -> Upkeep | None:
    """Compact what is no longer hot, then delete files that no version within the retention needs.

    Args:
        spark: the session.
        path: of the table.
        now: UTC.
        retention: age from which a file that is no longer part of the table may be deleted.
        keep_from_version: the change feed after this version stays readable, however old it is.

    Returns:
        What was done; None when there is no such table yet.

    Raises:
        DeltaConcurrentModificationException: another writer was faster, five times in a row.
    """
    if not DeltaTable.isDeltaTable(spark, path):
        return None
    for name, value in _SETTINGS.items():
        spark.conf.set(name, value)
    started = time.monotonic()
    before = _file_count(spark, path)
    compacted, attempts = retried(lambda: _compact(spark, path, now), path)
    after = _file_count(spark, path)
    kept = _kept_age(spark, path, keep_from_version, now)
    deleted, skipped = 0, None
    hours = max(retention, kept or retention).total_seconds() / 3600
    if keep_from_version is not None and kept is None:
        skipped = f"the log no longer tells when version {keep_from_version} was written: publish first"
    else:
        deleted, more = retried(lambda: _vacuum(spark, path, hours), path)
        attempts = max(attempts, more)
    return Upkeep(
        table=path,
        files_before=before,
        files_after=after,
        files_compacted=compacted,
        files_deleted=deleted,
        retention_hours=round(hours, 3),
        vacuum_skipped=skipped,
        attempts=attempts,
        seconds=round(time.monotonic() - started, 1),
    )


def cold_partitions(partition_columns: tuple[str, ...], now: datetime) -> str | None:
    """The predicate (Spark SQL, partition columns only) of partitions that no longer grow.

    None for a table without partitions: all of it is compacted. Understood are year/month/day/hour and single
    dates.
    """
    limit = now - HOT
    if not partition_columns:
        return None
    if partition_columns == ("year", "month", "day", "hour"):
        # One number an hour, so that hours compare across the ends of days, months and years.
        return f"((year * 100 + month) * 100 + day) * 100 + hour < {limit:%Y%m%d%H}"
    [date] = partition_columns
    return f"{date} < DATE'{limit:%Y-%m-%d}'"


def _compact(spark: SparkSession, path: str, now: datetime) -> int:
    columns = DeltaTable.forPath(spark, path).detail().select("partitionColumns").collect()[0][0]
    predicate = cold_partitions(tuple(columns), now)
    builder = DeltaTable.forPath(spark, path).optimize()
    if predicate is not None:
        builder = builder.where(predicate)
    metrics = builder.executeCompaction().select("metrics.numFilesRemoved").collect()
    return int(metrics[0][0])


def _vacuum(spark: SparkSession, path: str, hours: float) -> int:
    table = DeltaTable.forPath(spark, path)
    table.vacuum(hours)
    ends = table.history(20).where("operation = 'VACUUM END'").orderBy(F.desc("version"))
    counts = [row[0] for row in ends.select("operationMetrics.numDeletedFiles").limit(1).collect()]
    return int(counts[0]) if counts and counts[0] else 0


def _kept_age(spark: SparkSession, path: str, version: int | None, now: datetime) -> timedelta | None:
    """How old the files are that the version's own commit may have ended; None when the log does not tell."""
    if version is None:
        return None
    commits = DeltaTable.forPath(spark, path).history().where(F.col("version") == version)
    rows = commits.select(F.unix_micros("timestamp")).collect()
    if not rows:
        return None
    return timedelta(microseconds=now.timestamp() * 1_000_000 - rows[0][0]) + _MARGIN


def _file_count(spark: SparkSession, path: str) -> int:
    return int(DeltaTable.forPath(spark, path).detail().select("numFiles").collect()[0][0])
