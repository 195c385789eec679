"""The Spark session of every job: Delta, UTC, and what our writes gain from."""

from __future__ import annotations

import os
import sys
import time

from pyspark.sql import SparkSession

from medallion_contracts.errors import ServiceUnavailable
from medallion_spark.session.lake_access import LakeAccess, log_in

EXECUTOR_WAIT_SECONDS = 60

ARROW_BYTES = 32 * 1024 * 1024
"""About how large a batch of rows to Python may be."""

_SETTINGS = {
    # Records of 1 MB: G1 gives each array over half a region (512 KB in 2 GiB) regions of its own. The heap
    # is full of what those leave empty when Spark counts only half of it as used.
    "spark.executor.extraJavaOptions": "-XX:+UseParallelGC",
    # What goes to memory or disk is held until its stream is reset: by default after a hundred parts of 4 MB
    # and more, in each task.
    "spark.serializer.objectStreamReset": "2",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # A timestamp without an offset is UTC; hour partitions are UTC hours.
    "spark.sql.session.timeZone": "UTC",
    # Partitioned writes keep some files open instead of sorting first.
    "spark.sql.maxConcurrentOutputFileWriters": "64",
    "spark.sql.parquet.compression.codec": "zstd",
    # As our own writer does it. Spark's default counts nanoseconds, which other readers take for 64 bits: the
    # time of a record, which its producer may have set to anything, would come back as another one.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.hadoop.parquet.compression.codec.zstd.level": "1",
    # Without checksum files beside the lake's: delta-rs replaces files of the log and knows nothing of those,
    # and Delta takes a wrong one for a damaged log that it reads three times.
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    # lake_maintenance keeps what gold has not published, however old it is; Delta would refuse to read that
    # after a week.
    "spark.databricks.delta.vacuum.enforceTimeTravelWithinDeletedFileRetentionDuration": "false",
    # Delta's own bookkeeping runs in tasks too: as many as there are cores, not 50.
    "spark.databricks.delta.snapshotPartitions": "2",
    # A micro-batch needs more than the hundred pieces of generated code that Spark remembers by default, and
    # would compile all of them anew each time.
    "spark.sql.codegen.cache.maxEntries": "2000",
    # One record may be 1 MB: a batch to Python is bounded in bytes as well as in rows.
    "spark.sql.execution.arrow.maxBytesPerBatch": str(ARROW_BYTES),
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.redaction.regex": "(?i)secret|password|passwd|token|jaas|credential|access[.]?key|account[.]?key",
    # The pages show at most so many old jobs: the driver lives for months in 1 GiB.
    "spark.ui.retainedJobs": "200",
    "spark.ui.retainedStages": "200",
    "spark.ui.retainedTasks": "2000",
    "spark.sql.ui.retainedExecutions": "50",
}

IN_DRIVER = {
    # One JVM instead of two that load and compile the same classes on the same cores.
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    # Of a few thousand rows: compiling a plan takes longer than interpreting it.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}
"""Settings of a job with few rows: it works in its driver, and asks the cluster for nothing."""


def open_session(name: str, lake: LakeAccess, settings: dict[str, str] | None = None) -> SparkSession:
    """The session of a job, logged in to the lake, with at least one executor to work on.

    What spark-submit was told stays as it is; `settings` add to ours.

    Raises:
        ServiceUnavailable: no executor came within EXECUTOR_WAIT_SECONDS.
        SettingsError: a secret of the lake is missing.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name)
    for key, value in {**_SETTINGS, **(settings or {})}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    log_in(spark, lake)
    await_executor(spark)
    # A shuffle of ours is small: one task a core.
    cores = spark.sparkContext.defaultParallelism
    spark.conf.set("spark.sql.shuffle.partitions", str(max(1, cores)))
    spark.conf.set("spark.databricks.delta.snapshotPartitions", str(max(1, cores)))
    return spark


def executor_count(spark: SparkSession) -> int:
    """Executors that work for this session now; a local master counts as one."""
    context = spark.sparkContext
    if str(context.master).startswith("local"):
        return 1
    tracker = context._jsc.sc().statusTracker()
    return len(tracker.getExecutorInfos()) - 1  # the driver is listed too


def await_executor(spark: SparkSession) -> None:
    """Wait until there is an executor.

    Raises:
        ServiceUnavailable: none came within EXECUTOR_WAIT_SECONDS.
    """
    deadline = time.monotonic() + EXECUTOR_WAIT_SECONDS
    while executor_count(spark) < 1:
        if time.monotonic() > deadline:
            raise ServiceUnavailable(no_executor(spark))
        time.sleep(0.2)


def no_executor(spark: SparkSession, seconds: float = EXECUTOR_WAIT_SECONDS) -> str:
    """What to tell when the cluster gives no executor."""
    conf = spark.sparkContext.getConf()
    wanted = (
        f"{conf.get('spark.executor.cores', 'all')} cores, {conf.get('spark.executor.memory', '1g')} memory"
    )
    return (
        f"{spark.sparkContext.master} gave no executor ({wanted}) for {seconds:.0f} s: "
        "no worker is alive, or other jobs hold its cores or memory; see the master's page"
    )
