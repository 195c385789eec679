"""Ends a short job that has lost its executors: Spark would wait for new ones for ever.

Ending in the middle is as safe as a crash, and every job is built for that.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pyspark.sql import SparkSession

from medallion_spark.session.spark_session import EXECUTOR_WAIT_SECONDS, executor_count, no_executor

_LOOK_SECONDS = 2.0
_GRACE_SECONDS = 10.0
"""For a job to clean up after itself (release its lease) once its Spark jobs are cancelled."""


@contextmanager
def ended_without_executors(spark: SparkSession, seconds: float = EXECUTOR_WAIT_SECONDS) -> Iterator[None]:
    """While the block runs, end the job with a reason when the cluster gives no executor for so long.

    Args:
        spark: The job's session.
        seconds: How long the job may be without any executor.
    """
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(spark, seconds, ended), name="executor-watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()


def _watch(spark: SparkSession, seconds: float, ended: threading.Event) -> None:
    since: float | None = None
    while not ended.wait(min(_LOOK_SECONDS, seconds)):
        try:
            is_there = executor_count(spark) >= 1
        except Exception:
            return  # the JVM ends or has ended, and the job with it
        now = time.monotonic()
        since = None if is_there else since or now
        if since is not None and now - since >= seconds:
            _end(spark, no_executor(spark, seconds), ended)
            return


def _end(spark: SparkSession, message: str, ended: threading.Event) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)  # noqa: T201 - how entry scripts give up
    with suppress(Exception):
        spark.sparkContext.cancelAllJobs()
    if not ended.wait(_GRACE_SECONDS):
        os._exit(1)
