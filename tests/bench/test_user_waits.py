"""What a user waits for, end to end: real Airflow, cluster, broker and Postgres, from cold.

`make bench-user` runs this in a stack of its own. Rounds: BENCH_ROUNDS (default 3), medians are kept.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from medallion_stack import demo
from medallion_stack.airflow_client import FINISHED, AirflowClient
from medallion_stack.cli import start_all
from medallion_stack.layout import TELCO
from medallion_stack.observe import LakeView
from medallion_stack.stack import Stack, process_table
from medallion_stack.status import stack_memory
from medallion_stack.waiting import wait_until
from medallion_store.lake_paths import LakePaths
from medallion_store.process_id import ProcessId
from own_stack import own_stack

pytestmark = [pytest.mark.bench, pytest.mark.timeout(7200)]
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
CHANGED = int(os.environ.get("BENCH_CHANGED", "2000"))
WAIT_SECONDS = 900
GOLD, REPLAY = "customers_gold", "customers_replay"
_JOB_LINE = re.compile(r"this job took ([0-9.]+) s: ([a-z0-9., ]+)")
Keep = Callable[[str, Mapping[str, float]], None]


@dataclass
class User:
    """Somebody with a fresh stack and a watch."""

    stack: Stack
    up_seconds: float

    def __post_init__(self) -> None:
        self.airflow = AirflowClient.of(self.stack.airflow.settings)
        self.paths = LakePaths(self.stack.airflow.settings["MEDALLION_LAKE_URI"], "customers")
        self.lake = LakeView(self.paths.root, "customers")

    def send(self, *arguments: str) -> None:
        """Send events, and wait for their verdicts."""
        self.start_sending(*arguments).wait()
        topics = ("customers", "customers_replay")
        wait_until(
            lambda: self.lake.balance().read >= self.stack.broker.record_count(topics),
            WAIT_SECONDS,
            "the stream",
        )

    def start_sending(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the producer."""
        command = [sys.executable, "-m", "medallion_ops.producer", *arguments]
        environment = self.stack.airflow.environment()
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    def run(self, dag_id: str, **params: object) -> str:
        """Trigger a run and wait for its end."""
        run = self.airflow.trigger(dag_id, params)
        wait_until(lambda: self.airflow.state(dag_id, run) in FINISHED, WAIT_SECONDS, f"{dag_id} {run}")
        assert self.airflow.state(dag_id, run) == "success", self.airflow.run_page(dag_id, run)
        return run

    def wait_for_batch_after(self, batches: int) -> None:
        """Wait until the ledger has more micro-batches."""
        wait_until(lambda: self.lake.balance().batches > batches, WAIT_SECONDS, "the next micro-batch")

    def wait_for_quiet(self) -> None:
        """Wait until no gold run is under way: the hour's own may be."""
        wait_until(lambda: not self.airflow.runs(GOLD, "running", "queued"), WAIT_SECONDS, "gold's runs")

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of gold's database."""
        with psycopg.connect(self.stack.airflow.settings["MEDALLION_GOLD_DSN"]) as connection:
            return connection.execute(statement.encode()).fetchall()

    def job_steps(self, run: str) -> dict[str, float]:
        """The breakdown in the log of a run's job."""
        folder = Path(self.stack.airflow.folder, "logs", f"dag_id={GOLD}", f"run_id={run}", "task_id=write")
        text = "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))
        found = _JOB_LINE.findall(text)
        if not found:
            return {}
        pairs = (part.rsplit(" ", 1) for part in found[-1][1].rstrip(".").split(", "))
        return {step: float(seconds) for step, seconds in pairs}

    def drivers(self) -> list[ProcessId]:
        """The JVMs of the stream's driver."""
        found = []
        for process in process_table(self.stack.state).members():
            with suppress(psutil.Error):
                command = psutil.Process(process.pid).cmdline()
                if "java" in command[0] and any(word.endswith("stream_to_silver.py") for word in command):
                    found.append(process)
        return found


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A stack, from nothing; down at the end, whatever happened."""
    with own_stack(tmp_path_factory.mktemp("stack"), MEDALLION_DATASETS="customers") as state:
        started = time.monotonic()
        stack = start_all(state)
        yield User(stack, time.monotonic() - started)


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds that have it."""
    names = dict.fromkeys(name for one in rounds for name in one)
    return {name: statistics.median(one[name] for one in rounds if name in one) for name in names}


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def test_demo(user: User, keep: Keep) -> None:
    outcome = demo.run(user.stack, "customers")
    assert outcome.gold_state == "success"
    arrived = DeltaTable(user.paths.silver).to_pyarrow_table(columns=["_enqueued_at"])["_enqueued_at"]
    first_event = pc.min(arrived).as_py().timestamp()
    [(published,)] = user.query("SELECT extract(epoch FROM min(published_at)) FROM gold.publications")
    first_batch = DeltaTable(user.paths.ledger).history()[-1]["timestamp"] / 1000
    keep(
        "user_demo",
        {
            "make up: seconds": user.up_seconds,
            "the demo on it: seconds": outcome.seconds,
            "both, as after make clean: seconds": user.up_seconds + outcome.seconds,
            "first event to published gold: seconds": float(published) - first_event,
            "first event to the first micro-batch: seconds": first_batch - first_event,
        },
    )


def test_hour(user: User, keep: Keep) -> None:
    rounds = []
    for _ in range(ROUNDS):
        user.send("--source", "telco", "--file", str(TELCO), "--count", str(CHANGED))
        user.wait_for_quiet()
        run = user.run(GOLD)
        rounds.append(hour(user, run))
        print(rounds[-1])
    user.wait_for_quiet()
    nothing = user.airflow.timeline(GOLD, user.run(GOLD))
    keep(
        f"user_hour_{CHANGED}",
        {
            "changed customers": CHANGED,
            **medians(rounds),
            "an hour with nothing new, to its end: seconds": seconds_between(
                nothing.triggered, nothing.ended or ""
            ),
        },
    )


def hour(user: User, run: str) -> dict[str, float]:
    """Seconds of a run by what they were spent on."""
    line = user.airflow.timeline(GOLD, run)
    figures = {"trigger to the run's end: seconds": seconds_between(line.triggered, line.ended or "")}
    last = line.triggered
    for task in line.tasks:
        if task.started is None or task.ended is None:
            continue
        figures[f"{task.task_id}: seconds"] = seconds_between(task.started, task.ended)
        if task.task_id == "publish":
            figures["trigger to published: seconds"] = seconds_between(line.triggered, task.ended)
        if task.ended > last and task.started > last:
            figures["between the tasks: seconds"] = figures.get(
                "between the tasks: seconds", 0.0
            ) + seconds_between(last, task.started)
        last = max(last, task.ended)
    return figures | {f"write, {step}: seconds": took for step, took in user.job_steps(run).items()}


def test_replay(user: User, keep: Keep) -> None:
    rounds = []
    for _ in range(ROUNDS):
        user.send("--source", "synthetic", "--count", "100", "--broken", "25")
        line = user.airflow.timeline(REPLAY, user.run(REPLAY, dry_run=False))
        rounds.append({"trigger to verdicts: seconds": seconds_between(line.triggered, line.ended or "")})
    keep("user_replay", medians(rounds))


def test_killed_driver(user: User, keep: Keep) -> None:
    sending = user.start_sending("--source", "synthetic", "--rate", "500")
    rounds = []
    try:
        for _ in range(ROUNDS):
            time.sleep(20)
            batches = user.lake.balance().batches
            for process in user.drivers():
                os.kill(process.pid, signal.SIGKILL)
            killed = time.monotonic()
            user.wait_for_batch_after(batches)
            rounds.append({"kill -9 to the next committed batch: seconds": time.monotonic() - killed})
    finally:
        sending.terminate()
        sending.wait()
    keep("user_killed_driver", medians(rounds))


def test_idle_memory(user: User, keep: Keep) -> None:
    time.sleep(30)
    keep("user_idle_memory", {"all processes: GiB (PSS)": stack_memory(user.stack.state) / 2**30})
