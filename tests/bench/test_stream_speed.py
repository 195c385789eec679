"""The stream against what people would otherwise write, and its latency at a steady rate.

`make bench-stream` runs this. All ways read the same topic in one run, with the same cores, memory and batch
size, each in a JVM of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from deltalake import DeltaTable

from medallion_stack.environment import base_environment
from medallion_stack.layout import PROJECT, SPARK_JARS
from medallion_store.lake_paths import LakePaths
from services import BrokerServer

pytestmark = [pytest.mark.bench, pytest.mark.timeout(7200)]

RECORDS = 2_000_000
WARM_UP = 2
"""Micro-batches of each query that are shown, but not counted: the JVM compiles what it runs."""
BATCH = 250_010  # a little more, as Kafka rounds down each partition's share
STEADY_RATE = 1_000
STEADY_SECONDS = 900
STEADY_TRIGGER = 5
JOB = PROJECT / "spark_jobs" / "stream_to_silver.py"
WAYS = PROJECT / "tests" / "bench" / "stream_ways.py"
Keep = Callable[[str, Mapping[str, float]], None]
Batches = Sequence[Mapping[str, float]]


class Program:
    """A Spark program on two local cores with 3 GiB; knows the processor time it has used."""

    def __init__(self, log: Path, *command: str) -> None:
        conf = {
            "spark.master": "local[2]",
            "spark.driver.memory": "3g",
            "spark.driver.extraClassPath": f"{SPARK_JARS}/*",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
        }
        roots = ("expectations", "spark_jobs", "plugins")
        environment = {
            **base_environment(),
            "PYTHONPATH": os.pathsep.join(str(PROJECT / root) for root in roots),
            "PYSPARK_SUBMIT_ARGS": " ".join(f"--conf {k}={v}" for k, v in conf.items()) + " pyspark-shell",
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
        }
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", sys.executable, *command],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._seconds: dict[int, float] = {}
        threading.Thread(target=self._measure, daemon=True).start()

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far."""
        return sum(self._seconds.values())

    def _measure(self) -> None:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            while self.process.poll() is None:
                for process in [root, *root.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        times = process.cpu_times()
                        self._seconds[process.pid] = times.user + times.system
                time.sleep(0.5)


def run_way(
    way: str, bootstrap: str, topic: str, folder: Path, *more: str
) -> tuple[dict[str, Batches], float]:
    """Run another way to its end: its micro-batches, and the processor time it took."""
    program = Program(folder / f"{way}.log", str(WAYS), way, bootstrap, topic, str(folder), *more)
    assert program.process.wait() == 0, program.log.read_text()[-3000:]
    lines = [line for line in program.log.read_text().splitlines() if line.startswith("{")]
    found: dict[str, Batches] = json.loads(lines[-1]) if lines else {}
    return found, program.cpu_seconds


class OurStream:
    """The product's job on a lake of its own."""

    def __init__(self, lake: Path, bootstrap: str, *arguments: str) -> None:
        self.paths = LakePaths(str(lake), "customers")
        log = lake.parent / f"{lake.name}.log"
        self.program = Program(log, str(JOB), f"--lake-uri={lake}", f"--bootstrap={bootstrap}", *arguments)

    def wait_until_read(self, records: int, patience: float) -> None:
        """Wait until the ledger accounts for so many records."""
        deadline = time.monotonic() + patience
        while sum(row["read"] for row in self.ledger()) < records:
            assert self.program.process.poll() is None, self.program.log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"too slow: see {self.program.log}"
            time.sleep(2)

    def ledger(self) -> list[dict[str, Any]]:
        """All rows, in order."""
        return sorted(self._rows(self.paths.ledger), key=lambda row: row["sequence"])

    def batches(self) -> Batches:
        """Seconds of whole triggers, as Spark measures those of the other ways too."""
        rows = sorted(self._rows(self.paths.progress), key=lambda row: row["batch_id"])
        return [
            {"seconds": dict(row["duration_ms"])["triggerExecution"] / 1000, "rows": row["input_rows"]}
            for row in rows
        ]

    def stop(self) -> None:
        """Stop it as an operator would."""
        request = Path(self.paths.stop_request)
        request.write_text("{}")
        assert self.program.process.wait(timeout=300) == 0
        request.unlink()

    @staticmethod
    def _rows(path: str) -> list[dict[str, Any]]:
        if not (Path(path) / "_delta_log").exists():
            return []
        rows: list[dict[str, Any]] = DeltaTable(path).to_pyarrow_table().to_pylist()
        return rows


def rate(*stages: Batches) -> float:
    """Records a second through all stages, after the warm-up of each."""
    return 1 / sum(
        sum(b["seconds"] for b in stage[WARM_UP:]) / sum(b["rows"] for b in stage[WARM_UP:])
        for stage in stages
    )


def test_catching_up(broker_server: BrokerServer, tmp_path: Path, keep: Keep) -> None:
    bootstrap = broker_server.bootstrap
    run_way("fill", bootstrap, "customers", tmp_path, str(RECORDS))
    bare, bare_cpu = run_way("bare", bootstrap, "customers", tmp_path)
    plain, plain_cpu = run_way("plain", bootstrap, "customers", tmp_path)
    ours = OurStream(
        tmp_path / "lake", bootstrap, "--trigger-seconds=0", f"--max-offsets-per-trigger={BATCH}"
    )
    ours.wait_until_read(RECORDS, patience=3000)
    time.sleep(5)  # the last progress row comes after the ledger's
    ours.stop()
    a, b, c = rate(bare["bare"]), rate(plain["bronze"], plain["silver"]), rate(ours.batches())
    figures = {
        "(a) Kafka -> from_json -> Parquet, records/s": a,
        "(b) plain two-query medallion, records/s": b,
        "(c) ours, records/s": c,
        "(c) / (a), at least 0.4, aim 0.6": c / a,
        "(c) / (b), at least 1.0, aim 1.5": c / b,
        "first micro-batch of (a), s": bare["bare"][0]["seconds"],
        "first micro-batches of (b), s": plain["bronze"][0]["seconds"] + plain["silver"][0]["seconds"],
        "first micro-batch of (c), s": ours.batches()[0]["seconds"],
        "processor time of (a), warm-up included, s": bare_cpu,
        "processor time of (b), s": plain_cpu,
        "processor time of (c), s": ours.program.cpu_seconds,
    }
    keep("stream-catch-up", figures)
    ledger = ours.ledger()
    assert sum(row["read"] for row in ledger) == RECORDS
    assert sum(row["rejected"] for row in ledger) == RECORDS // 200
    assert c / a >= 0.4
    assert c / b >= 1.0


def test_latency_at_a_steady_rate(own_broker: BrokerServer, tmp_path: Path, keep: Keep) -> None:
    lake = tmp_path / "lake"
    ours = OurStream(lake, own_broker.bootstrap, f"--trigger-seconds={STEADY_TRIGGER}")
    _send(own_broker, 20_000, "--seed=1")
    ours.wait_until_read(20_000, patience=300)  # warm
    before = ours.ledger()[-1]["sequence"]
    _send(
        own_broker,
        STEADY_RATE * STEADY_SECONDS,
        *(f"--rate={STEADY_RATE}", "--broken=0.005", "--duplicated=0.01"),
    )
    time.sleep(4 * STEADY_TRIGGER)
    idle_cpu, idle_files = _idle(ours)
    ours.stop()
    steady = [row for row in ours.ledger() if row["sequence"] > before]
    waits = _waits(ours.paths, steady)
    p50, p95, longest = np.percentile(waits, [50, 95, 100])
    keep(
        "stream-latency",
        {
            f"event to silver at {STEADY_RATE}/s, trigger {STEADY_TRIGGER} s: p50, s": float(p50),
            "p95, s (at most trigger + 5)": float(p95),
            "longest, s": float(longest),
            "micro-batches": len(steady),
            "seconds of a micro-batch, median": float(np.median([row["duration_seconds"] for row in steady])),
            "processor time of an idle trigger with its heartbeats, s": idle_cpu,
            "files that an idle minute added": idle_files,
        },
    )
    assert p95 <= STEADY_TRIGGER + 5
    assert idle_files == 0
    assert idle_cpu <= 0.3


def _send(broker: BrokerServer, count: int, *more: str) -> None:
    """Synthetic events by the product's producer."""
    subprocess.run(
        [sys.executable, "-m", "medallion_ops.producer", "--source=synthetic", f"--count={count}", *more],
        env={
            **base_environment(),
            "PYTHONPATH": f"{PROJECT / 'expectations'}:{PROJECT / 'plugins'}",
            "MEDALLION_KAFKA_BOOTSTRAP": broker.bootstrap,
        },
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _idle(ours: OurStream) -> tuple[float, int]:
    """Processor seconds for each trigger of a minute without records, and the files it added to the lake."""
    root = Path(ours.paths.root)
    cpu, files = ours.program.cpu_seconds, sum(1 for _ in root.rglob("*.*"))
    time.sleep(60)
    triggers = 60 / STEADY_TRIGGER
    return (ours.program.cpu_seconds - cpu) / triggers, sum(1 for _ in root.rglob("*.*")) - files


def _waits(paths: LakePaths, ledger: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds from Kafka's timestamp to the end of its micro-batch, for each row of silver."""
    done = {row["batch_id"]: row["committed_at"].timestamp() for row in ledger}
    silver = DeltaTable(paths.silver).to_pyarrow_table(columns=["_batch_id", "_enqueued_at"]).to_pandas()
    silver = silver[silver["_batch_id"].isin(list(done))]
    enqueued = silver["_enqueued_at"].astype("int64").to_numpy() / 1e6
    waits: np.ndarray[Any, np.dtype[np.float64]] = silver["_batch_id"].map(done).to_numpy() - enqueued
    return waits
