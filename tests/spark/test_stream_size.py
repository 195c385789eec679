"""The stream's state does not grow with time: memory and duration of batches stay what they were."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from statistics import median

import pytest
from pyspark.sql import SparkSession

from kafka_log import TestLake, event, log_of

ROWS = 40
MOST_HELD = 5
"""Frames of the last batch, which the cleaner may not have got to."""
PAIRS = 8


@pytest.mark.timeout(900)
def test_fifty_batches_leave_nothing_behind(lake: TestLake, tmp_path: Path) -> None:
    stream(lake, TestLake(lake.spark, tmp_path / "young", lake.dataset), batches=50)


@pytest.mark.full
def test_five_hundred_batches_leave_nothing_behind(lake: TestLake, tmp_path: Path) -> None:
    stream(lake, TestLake(lake.spark, tmp_path / "young", lake.dataset), batches=500)


def stream(lake: TestLake, young: TestLake, batches: int) -> None:
    """Send so many batches, each tenth with repeats and a broken record; then compare with a lake of ten."""
    heap, tasks, seconds = [], [], []
    held_before = held_frames(lake.spark)
    for number in range(batches):
        tasks_before, started = tasks_started(lake.spark), time.monotonic()
        send(lake, number)
        if number % 10 != 9:
            tasks.append(tasks_started(lake.spark) - tasks_before)
            seconds.append(time.monotonic() - started)
        if number % (batches // 5) == batches // 5 - 1:
            heap.append(used_heap_mb(lake.spark))
            recent = slice(-(batches // 10), None)
            print(
                f"{number + 1} batches: {median(tasks[recent]):.0f} tasks and {median(seconds[recent]):.2f} s"
                f" a batch, {heap[-1]:.0f} MB of heap in use"
            )
    most = held_before + MOST_HELD
    assert held_frames(lake.spark, most) <= most, "frames held in memory are given back"
    # The first fifth pays for compilation; from then on neither may grow.
    assert min(heap[-2:]) < heap[0] + 64
    fifth = len(tasks) // 5
    assert median(tasks[-fifth:]) <= median(tasks[fifth : 2 * fifth])
    compare_with(young, lake, batches)
    lake.check()


def compare_with(young: TestLake, old: TestLake, batches: int) -> None:
    """In turns, so that whatever else the machine does falls on both: a batch of each; the fastest count."""
    for number in range(10):
        send(young, number)
    seconds: dict[str, list[float]] = {"young": [], "old": []}
    for pair in range(PAIRS):
        for name, lake, number in (("young", young, 10 + pair), ("old", old, batches + pair)):
            started = time.monotonic()
            send(lake, number, odd=False)
            seconds[name].append(time.monotonic() - started)
    fastest = {name: min(taken) for name, taken in seconds.items()}
    print(f"a batch after {batches}: {fastest['old']:.2f} s, after 10: {fastest['young']:.2f} s")
    assert fastest["old"] < 2 * fastest["young"]


def send(lake: TestLake, number: int, odd: bool | None = None) -> None:
    """Send the next batch: new rows; in an `odd` one (unsaid: each tenth) repeats and a broken record too."""
    records: list[dict[str, object] | bytes] = [event(f"c{number}-{row}", number / 10) for row in range(ROWS)]
    if number % 10 == 9 if odd is None else odd:
        records += [event(f"c{number - 1}-{row}", (number - 1) / 10) for row in range(5)]
        records += [b"{"]
    row = lake.send(log_of(records, first_offset=number * 2 * ROWS), batch_id=number)
    assert row is not None
    assert row.silver == ROWS
    assert row.duplicate + row.rejected == len(records) - ROWS


def tasks_started(spark: SparkSession) -> int:
    return int(spark._jsc.sc().taskScheduler().nextTaskId())  # py4j


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
