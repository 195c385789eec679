"""A lake of one year of minutes costs what a lake of one week does: in time, memory, files looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from kafka_log import NOON, Record, TestLake, event, log_of
from medallion_contracts.loader import load_dataset
from medallion_spark.stream.ledger import Ledger
from medallion_spark.stream.progress import ProgressTable
from medallion_stack.layout import PROJECT
from old_lake import DAY, HOUR, MINUTE, OldTable, Span

NOW = datetime(2026, 11, 2, 2, tzinfo=UTC)
YEAR, YOUNG = 365 * DAY, 8 * DAY
"""Young is a lake whose log is as long as it gets (a week): in its first week everything costs less."""
PAIRS = 7
MOST = 1.2

OPEN = """
import json, sys, time
from datetime import datetime, timedelta
from medallion_contracts.loader import load_dataset
from medallion_spark.lake.silver_partitions import touched_files, touched_partitions
from medallion_spark.lake.tables import stream_tables
from medallion_spark.maintenance.maintain import maintain_lake
from medallion_spark.session.lake_access import LakeAccess
from medallion_store.lake_login import delta_storage_options
from medallion_spark.stream.ledger import Ledger
from medallion_ops.monitor.lake_view import ledger_news, oldest_pending
from medallion_store.delta_history import rows_since
from medallion_store.lake_paths import LakePaths
what, root = sys.argv[1], sys.argv[2]
dataset, access, paths = load_dataset("customers"), LakeAccess(root), LakePaths(root, "customers")
if what == "open":
    tables = stream_tables(paths, dataset, access)
    ledger = Ledger(paths.ledger, delta_storage_options(access.login))
    tables.prepare()
    assert ledger.carried().sequence and ledger.last_query() and ledger.last_batch("query")
    assert tables.bronze.commit_of("query:bronze", int(sys.argv[3])).label
    assert len(tables.silver.files())
elif what == "look":
    sequence = int(sys.argv[3])
    assert ledger_news(paths.ledger, {}, sequence - 2).batches > 0
    for table in (paths.bronze, paths.silver, paths.quarantine):
        assert rows_since(table, {}, sequence - 2)
    assert oldest_pending(paths.silver, {}, sequence - 60)
else:
    now = datetime.fromisoformat(sys.argv[3])
    week = timedelta(days=7)
    assert len(maintain_lake(access, paths, now=now, retention=week, keep_from_version=None)) == 5
taken = time.process_time()
# Not ru_maxrss: that begins with what the parent held when it forked.
[peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM:")]
print(json.dumps([taken, int(peak.split()[1]) / 1024]))
"""


def grown(spark: SparkSession, folder: Path, age: timedelta) -> TestLake:
    """A lake that has had a batch a minute for so long."""
    lake = TestLake(spark, folder / "lake", load_dataset("customers"))
    progress = ProgressTable(lake.paths.progress, lake.storage)
    progress.prepare()
    progress.append({"id": "query", "batchId": 0, "numInputRows": 1}, {})
    lake.clock = NOW - age
    at = (lake.clock - NOON) / MINUTE
    row = lake.send(log_of([event("c0", at - 1), b"{"], timestamp=lake.clock))
    assert row is not None
    start = NOW - age
    tables: dict[str, dict[str, Any]] = {
        "bronze": {
            "statistics": lambda span: _both(span, "offset", "_batch_id"),
            "partition": lambda moment: {"ingest_date": moment.date().isoformat()},
            "joined": DAY,
        },
        "silver": {
            "statistics": _times,
            "partition": lambda moment: {name: str(getattr(moment, name)) for name in _PARTS},
            "joined": HOUR,
        },
        "quarantine": {
            "statistics": lambda span: _both(span, "_batch_id"),
            "partition": lambda moment: {"ingest_date": moment.date().isoformat()},
            "joined": DAY,
        },
        "ledger": {
            "statistics": lambda span: _both(span, "sequence", "batch_id"),
            "log_kept": 2 * DAY,
        },
        "progress": {"statistics": lambda span: _both(span, "batch_id"), "log_kept": 2 * DAY},
    }
    for name, about in tables.items():
        OldTable(getattr(lake.paths, name), **about).grow(start, NOW)
    minutes = age // MINUTE
    Ledger(lake.paths.ledger, lake.storage).append(replace(row, sequence=minutes + 1, batch_id=minutes + 1))
    fresh = TestLake(spark, folder / "lake", load_dataset("customers"))
    fresh.clock = NOW
    fresh.next_batch = minutes + 2
    return fresh


_PARTS = ("year", "month", "day", "hour")


def _both(span: Span, *names: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return dict.fromkeys(names, span.first), dict.fromkeys(names, span.last)


def _times(span: Span) -> tuple[dict[str, Any], dict[str, Any]]:
    start, end = (
        moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for moment in (span.start, span.end - timedelta(seconds=1))
    )
    return {"updated_at": start}, {"updated_at": end}


def records(number: int) -> list[Record]:
    """The next minute's records, of the last hour: silver has its files."""
    at = (NOW - NOON) / MINUTE - 10
    offset = 2 + 20 * number
    return log_of(
        [event(f"n{number}-{n}", at + n / 60) for n in range(20)], first_offset=offset, timestamp=NOW
    )


def in_a_process(lake: TestLake, what: str, argument: str) -> tuple[float, float]:
    """Processor seconds and MiB (resident, the most) of a process that does it, its start included.

    Real ones start more than this one: maintenance a JVM, a look of the monitor an Airflow task.
    """
    roots = [str(PROJECT / root) for root in ("expectations", "spark_jobs", "plugins")]
    done = subprocess.run(
        [sys.executable, "-c", OPEN, what, lake.access.uri, argument],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seconds, mebibytes = json.loads(done.stdout.splitlines()[-1])
    return seconds, mebibytes


def least(measure: Callable[[TestLake], tuple[float, float]], old: TestLake, young: TestLake) -> list[float]:
    """The ratios old to young of the least seconds and MiB, measured in turns."""
    found: dict[str, list[tuple[float, float]]] = {"young": [], "old": []}
    for _ in range(PAIRS):
        found["young"].append(measure(young))
        found["old"].append(measure(old))
    best = {name: [min(values) for values in zip(*runs, strict=True)] for name, runs in found.items()}
    print(f"young {best['young']}, old {best['old']} (seconds, MiB)")
    return [old_one / young_one for old_one, young_one in zip(best["old"], best["young"], strict=True)]


@pytest.mark.full
@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_a_year_of_minutes_costs_what_a_week_does(spark: SparkSession, tmp_path: Path) -> None:
    young, old = grown(spark, tmp_path / "young", YOUNG), grown(spark, tmp_path / "old", YEAR)
    assert old.tables.bronze.version() > 525_600

    def opened(lake: TestLake) -> tuple[float, float]:
        batch = (YEAR if lake is old else YOUNG) // MINUTE
        return in_a_process(lake, "open", str(batch))

    def sent(lake: TestLake) -> tuple[float, float]:
        number = lake.next_batch - (YEAR if lake is old else YOUNG) // MINUTE - 2
        started = time.monotonic()
        row = lake.send(records(number))
        assert row is not None
        assert row.silver == 20
        return time.monotonic() - started, 1.0

    def looked(lake: TestLake) -> tuple[float, float]:
        return in_a_process(lake, "look", str((YEAR if lake is old else YOUNG) // MINUTE))

    ratios = {
        "opening": least(opened, old, young),
        "a look of the monitor": least(looked, old, young),
        "a micro-batch": least(sent, old, young),
    }
    later = iter(range(100))
    ratios["maintenance"] = least(
        lambda lake: in_a_process(lake, "maintain", (NOW + 3 * HOUR + next(later) * MINUTE).isoformat()),
        old,
        young,
    )
    print({what: [round(ratio, 2) for ratio in both] for what, both in ratios.items()})
    assert all(ratio < MOST for both in ratios.values() for ratio in both), ratios
