"""The stream's state does not grow with time: memory and duration of batches stay what they were."""

from __future__ import annotations

import gc
import time
from statistics import median

import pytest
from pyspark.sql import SparkSession

from kafka_log import TestLake, event, log_of

ROWS = 40


@pytest.mark.timeout(900)
def test_fifty_batches_leave_nothing_behind(lake: TestLake) -> None:
    stream(lake, batches=50)


@pytest.mark.full
def test_five_hundred_batches_leave_nothing_behind(lake: TestLake) -> None:
    stream(lake, batches=500)


def stream(lake: TestLake, batches: int) -> None:
    """Send so many batches, each with repeats of the one before, and compare the first with the last ones."""
    seconds, heap = [], []
    for number in range(batches):
        new = [event(f"c{number}-{row}", number / 10) for row in range(ROWS)]
        again = [event(f"c{number - 1}-{row}", (number - 1) / 10) for row in range(5)] if number else []
        records = log_of([*new, *again, b"{"], first_offset=number * (ROWS + 6))
        started = time.monotonic()
        row = lake.send(records, batch_id=number)
        seconds.append(time.monotonic() - started)
        assert row is not None
        assert (row.silver, row.duplicate, row.rejected) == (ROWS, len(again), 1)
        if number % (batches // 5) == batches // 5 - 1:
            heap.append(used_heap_mb(lake.spark))
            tenth = seconds[-(batches // 10) :]
            print(f"{number + 1} batches: {median(tenth):.2f} s a batch, {heap[-1]:.0f} MB of heap in use")
    assert held_frames(lake.spark) == 0, "each frame that was held in memory was given back"
    # The first fifth pays for compilation; from then on neither may grow.
    assert heap[-1] < heap[0] + 64
    fifth = batches // 5
    assert median(seconds[-fifth:]) < 1.5 * median(seconds[fifth : 2 * fifth])
    lake.check()


def used_heap_mb(spark: SparkSession) -> float:
    """Megabytes in use in the JVM after a collection."""
    gc.collect()  # Python's references to JVM objects
    runtime = spark._jvm.java.lang.Runtime.getRuntime()  # type: ignore[union-attr]  # py4j
    runtime.gc()
    return float(runtime.totalMemory() - runtime.freeMemory()) / 1024**2


def held_frames(spark: SparkSession) -> int:
    """Frames that Spark keeps in memory or on disk, once what nobody refers to is gone."""
    context = spark.sparkContext._jsc  # py4j
    for _ in range(50):
        used_heap_mb(spark)
        if not context.getPersistentRDDs():
            return 0
        time.sleep(0.2)  # the cleaner works in the background
    return len(context.getPersistentRDDs())
