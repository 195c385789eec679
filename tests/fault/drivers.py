"""Streaming drivers as processes of a test: started, watched through the ledger, stopped, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deltalake import DeltaTable
from kafka import KafkaConsumer, TopicPartition

from medallion_stack.environment import base_environment
from medallion_stack.layout import PROJECT, SPARK_JARS, VENV
from medallion_store.lake_paths import LakePaths

TOPICS = ("customers", "customers_replay")
JOB = PROJECT / "spark_jobs" / "stream_to_silver.py"
CRASHING = PROJECT / "tests" / "fault" / "crashing_stream.py"
PATIENCE_SECONDS = 600


@dataclass
class Crash:
    """Where a driver is to die: before or after the commit of a table, in its second micro-batch."""

    side: str
    point: str
    how: str = "KILL"

    def __str__(self) -> str:
        return f"{self.how} {self.side} {self.point}"


@dataclass
class Drivers:
    """Starts drivers of one lake, one at a time.

    `arguments` are added to each; `master` is where they work, `conf` their Spark properties, `contracts` the
    folder of the package medallion_contracts.
    """

    lake: Path
    bootstrap: str
    arguments: tuple[str, ...] = ("--trigger-seconds=0.5", "--max-offsets-per-trigger=400")
    master: str = "local[2]"
    conf: Mapping[str, str] = field(default_factory=dict)
    contracts: Path = PROJECT / "expectations"
    patience_seconds: float = PATIENCE_SECONDS
    _running: subprocess.Popen[bytes] | None = None

    @property
    def paths(self) -> LakePaths:
        """Of the dataset."""
        return LakePaths(str(self.lake), "customers")

    @property
    def log(self) -> Path:
        """What all drivers have said."""
        return self.lake.parent / f"{self.lake.name}-drivers.log"

    def start(self, crash: Crash | None = None, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a driver, which dies at `crash`."""
        self.lake.mkdir(parents=True, exist_ok=True)
        script = [str(JOB)] if crash is None else [str(CRASHING), crash.side, crash.point, crash.how]
        command = [
            *("setpriv", "--pdeathsig", "KILL", sys.executable, *script),
            *(f"--lake-uri={self.lake}", f"--bootstrap={self.bootstrap}", *self.arguments, *arguments),
        ]
        with self.log.open("ab") as output:
            output.write(f"--- {' '.join(command)}\n".encode())
            output.flush()
            self._running = subprocess.Popen(
                command, env=self.environment(), stdout=output, stderr=output, start_new_session=True
            )
        return self._running

    def environment(self) -> dict[str, str]:
        """Of a driver, or of another job on the same lake."""
        folders = ("spark_jobs", "docker/local", "tests", "tests/support")
        roots = (self.contracts, *(PROJECT / folder for folder in folders))
        path = os.pathsep.join(str(root) for root in roots)
        conf = {
            "spark.master": self.master,
            # The drivers' own; executors of a cluster inherit nothing of it.
            "spark.executorEnv.PYTHONPATH": path,
            "spark.driver.memory": "1g",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.extraClassPath": f"{SPARK_JARS}/*",
            "spark.executor.extraClassPath": f"{SPARK_JARS}/*",
            "spark.local.dir": str(self.lake.parent / "spark-tmp"),
            **self.conf,
        }
        words = " ".join(f"--conf {name}={value}" for name, value in conf.items())
        return {
            **base_environment(),
            "PYTHONPATH": path,
            "PYSPARK_SUBMIT_ARGS": f"{words} pyspark-shell",
            "PYSPARK_PYTHON": str(VENV / "bin/python"),
            "SPARK_LOCAL_IP": "127.0.0.1",
            # Short lives: the second compiler and parallel collectors cost more than they give.
            "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        }

    def wait_for_death(self) -> float:
        """Wait until the driver has died of its crash; gives the moment (monotonic)."""
        assert self._running is not None
        code = self._running.wait(timeout=self.patience_seconds)
        assert code != 0, f"the driver was to die and ended well: see {self.log}"
        self.end()
        return time.monotonic()

    def wait_for_refusal(self) -> None:
        """Wait until the driver has ended by itself: 0, so that no supervisor starts it again, or 1."""
        assert self._running is not None
        code = self._running.wait(timeout=self.patience_seconds)
        assert code in (0, 1), f"the driver was to refuse and ended with {code}: see {self.log}"

    def end(self) -> None:
        """Kill the driver and all that it started, if it still runs."""
        if self._running is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)
            self._running.wait(timeout=30)

    def wait_for_batch(self, after: int, since: float) -> float:
        """Seconds from `since` until the ledger has more rows than `after`."""
        self.wait_until(lambda: self.batches() > after)
        return time.monotonic() - since

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition while the driver runs.

        Raises:
            AssertionError: the driver ended, or it took too long.
        """
        deadline = time.monotonic() + self.patience_seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited too long: see {self.log}"
            assert self._running is None or self._running.poll() is None, f"driver ended: see {self.log}"
            time.sleep(0.2)

    def batches(self) -> int:
        """How many micro-batches the ledger has."""
        if not DeltaTable.is_deltatable(self.paths.ledger):
            return 0
        return int(DeltaTable(self.paths.ledger).to_pyarrow_dataset().count_rows())

    def is_caught_up(self) -> bool:
        """Whether the ledger accounts for all that the topics hold."""
        if not DeltaTable.is_deltatable(self.paths.ledger):
            return False
        rows = DeltaTable(self.paths.ledger).to_pyarrow_table(columns=["sources"]).to_pylist()
        until: dict[tuple[str, int], tuple[int, int]] = {}
        for source in (source for row in rows for source in row["sources"]):
            where = (source["topic"], source["partition"])
            reached = (source["incarnation"] or 0, source["until_offset"])
            until[where] = max(until.get(where, (0, 0)), reached)
        ends = end_offsets(self.bootstrap)
        return all(until.get(where, (0, 0))[1] >= end for where, end in ends.items() if end)

    def catch_up_and_stop(self) -> None:
        """Let the running driver finish all records, then stop it by the request file."""
        assert self._running is not None
        self.wait_until(self.is_caught_up)
        self.stop()

    def stop(self) -> None:
        """Stop the running driver by the request file."""
        assert self._running is not None
        request = Path(self.paths.stop_request)
        request.parent.mkdir(parents=True, exist_ok=True)
        request.write_text(json.dumps({"owner": "test"}))
        code = self._running.wait(timeout=60)
        request.unlink()
        assert code == 0, f"the driver ended with {code}: see {self.log}"


def end_offsets(bootstrap: str) -> dict[tuple[str, int], int]:
    """Where the dataset's topics end, by topic and partition."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        partitions = [
            TopicPartition(topic, number)
            for topic in TOPICS
            for number in consumer.partitions_for_topic(topic)
        ]
        ends = consumer.end_offsets(partitions)
        return {(where.topic, where.partition): end for where, end in ends.items()}
    finally:
        consumer.close()
