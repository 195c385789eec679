"""The stream's state does not grow with time: memory and duration of batches stay what they were."""

from __future__ import annotations

import gc
import time
from statistics import median

import pytest
from pyspark.sql import SparkSession

from kafka_log import TestLake, event, log_of

ROWS = 40
MOST_HELD = 5
"""Frames of the last batch, which the cleaner may not have got to."""


@pytest.mark.timeout(900)
def test_fifty_batches_leave_nothing_behind(lake: TestLake) -> None:
    stream(lake, batches=50)


@pytest.mark.full
def test_five_hundred_batches_leave_nothing_behind(lake: TestLake) -> None:
    stream(lake, batches=500)


def stream(lake: TestLake, batches: int) -> None:
    """Send so many batches, each tenth with repeats and a broken record; compare the first with the last."""
    seconds, heap = [], []
    held_before = held_frames(lake.spark)
    offset = 0
    for number in range(batches):
        new = [event(f"c{number}-{row}", number / 10) for row in range(ROWS)]
        odd: list[dict[str, object] | bytes] = [
            *(event(f"c{number - 1}-{row}", (number - 1) / 10) for row in range(5)),
            b"{",
        ]
        records = log_of([*new, *odd] if number % 10 == 9 else new, first_offset=offset)
        offset += len(records)
        started = time.monotonic()
        row = lake.send(records, batch_id=number)
        if number % 10 != 9:
            seconds.append(time.monotonic() - started)
        assert row is not None
        assert row.silver == ROWS
        assert row.duplicate + row.rejected == len(records) - ROWS
        if number % (batches // 5) == batches // 5 - 1:
            heap.append(used_heap_mb(lake.spark))
            tenth = seconds[-(batches // 10) :]
            print(f"{number + 1} batches: {median(tenth):.2f} s a batch, {heap[-1]:.0f} MB of heap in use")
    most = held_before + MOST_HELD
    assert held_frames(lake.spark, most) <= most, "frames held in memory are given back"
    # The first fifth pays for compilation; from then on neither may grow.
    assert min(heap[-2:]) < heap[0] + 64
    fifth = len(seconds) // 5
    assert median(seconds[-fifth:]) < 1.5 * median(seconds[fifth : 2 * fifth])
    lake.check()


def used_heap_mb(spark: SparkSession) -> float:
    """Megabytes in use in the JVM after collections: what one of them frees lets the next one free more."""
    runtime = spark._jvm.java.lang.Runtime.getRuntime()  # type: ignore[union-attr]  # py4j
    used = []
    for _ in range(4):
        gc.collect()  # Python's references to JVM objects
        runtime.gc()
        time.sleep(0.5)  # Spark's cleaner follows the collector
        used.append(float(runtime.totalMemory() - runtime.freeMemory()) / 1024**2)
    return min(used)


def held_frames(spark: SparkSession, few: int = 0) -> int:
    """Frames that Spark keeps in memory or on disk, once what nobody refers to is gone, or there are few."""
    context = spark.sparkContext._jsc  # py4j
    held = len(context.getPersistentRDDs())
    for _ in range(5):
        if held <= few:
            break
        used_heap_mb(spark)
        time.sleep(0.5)  # the cleaner works in the background
        held = min(held, len(context.getPersistentRDDs()))
    return held
