"""`make drill`: breaks the running stack in one way after another, and measures the mails.

The limits are shortened by settings; each trouble prints one line, all of them a table at the end. The tests
follow one another: each leaves the stack as it found it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
import pytest

from medallion_contracts.loader import load_dataset
from medallion_ops.monitor.samples import RECENT
from medallion_stack import demo
from medallion_stack.airflow_client import AirflowClient
from medallion_stack.cli import start_all
from medallion_stack.layout import PROJECT
from medallion_stack.observe import LakeView
from medallion_stack.stack import SUPERVISOR, Stack
from medallion_stack.waiting import wait_until
from own_stack import own_stack
from services import Mail

DATASET = "customers"
LIMITS = {
    "MEDALLION_DATASETS": DATASET,
    "MEDALLION_HEARTBEAT_LIMIT_SECONDS": "45",
    "MEDALLION_BATCH_IDLE_LIMIT_MINUTES": "1",
    "MEDALLION_ON_DATA_LOSS": "count",
    # A loss is over when the recent past has none, not after a day.
    "MEDALLION_SERVICE_LEVELS": f"{DATASET}.gold_freshness=90,{DATASET}.completeness_percent=0",
}
MOST_SECONDS = 360
"""From a limit passed to its mail, and from its end to the closing mail."""
WAIT_SECONDS = 1_200
"""A busy machine may take longer than it must; the table says how long it was."""
pytestmark = [pytest.mark.full, pytest.mark.timeout(3_000)]


@dataclass
class Drill:
    """The running stack, and what was measured."""

    stack: Stack
    airflow: AirflowClient
    mail: Mail
    lines: list[dict[str, object]] = field(default_factory=list)

    def subjects(self, start: int) -> list[str]:
        return [str(one["Subject"]).replace("\n", "") for one in self.mail.messages()[start:]]

    def trouble(
        self, name: str, subject: str, repair: Callable[[], object], *, limit_seconds: float = 0
    ) -> None:
        """Wait for a mail about what was just broken, repair it, and wait for the closing mail.

        Args:
            name: of the trouble, for the table.
            subject: words of its mail.
            repair: ends the trouble.
            limit_seconds: how long the trouble may last before it is one.
        """
        start, began = len(self.mail.messages()), time.monotonic()
        mailed = self._wait(start, f"[medallion] {subject}", began)
        repair()
        repaired = time.monotonic()
        closed = self._wait(start, f"[medallion] Over: {subject}", repaired)
        line = {
            "trouble": name,
            "limit": round(limit_seconds),
            "mail after s": round(mailed),
            "closed after s": round(closed),
        }
        self.lines.append(line)
        print(json.dumps(line))
        assert mailed - limit_seconds <= MOST_SECONDS, line
        assert closed <= MOST_SECONDS, line

    def _wait(self, start: int, subject: str, began: float) -> float:
        def is_there() -> bool:
            return any(one.startswith(subject) for one in self.subjects(start))

        wait_until(is_there, WAIT_SECONDS, f"the mail {subject!r}")
        return time.monotonic() - began

    def processes(self, *words: str) -> list[psutil.Process]:
        """Processes of the stack whose command has all the words."""
        found = []
        for member in self.stack.processes.members():
            with suppress(psutil.Error):
                process = psutil.Process(member.pid)
                if all(word in " ".join(process.cmdline()) for word in words):
                    found.append(process)
        return found

    def send(self, *arguments: str) -> None:
        """Send events by the producer's command."""
        command = [sys.executable, "-m", "medallion_ops.producer", "--dataset", DATASET, *arguments]
        subprocess.run(command, env=self.stack.airflow.environment(), check=True, capture_output=True)

    def look(self, **settings: str) -> None:
        """A look of the monitor by hand, with other limits than those of its DAG."""
        changed = {f"MEDALLION_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "medallion_ops.monitor"]
        environment = {**self.stack.airflow.environment(), **changed}
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """A stack of its own with short limits, the demo's customers in gold; prints the table at the end."""
    with own_stack(tmp_path_factory.mktemp("drill"), **LIMITS) as state:
        stack = start_all(state)
        settings = stack.airflow.settings
        found = Drill(
            stack,
            AirflowClient.of(settings),
            Mail("127.0.0.1", stack.mail.port, Path(settings["MEDALLION_MAIL_DIR"])),
        )
        demo.run(stack, "customers")
        # Else it starts again what a trouble has stopped.
        stack.processes.stop(SUPERVISOR)
        yield found
        print_table(found.lines)


def print_table(lines: list[dict[str, object]]) -> None:
    print(f"\n{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores")
    for line in lines:
        print("| " + " | ".join(str(value) for value in line.values()) + " |")
    folder = PROJECT / "build" / "drill"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"troubles-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json").write_text(json.dumps(lines, indent=1))


@pytest.mark.parametrize("name", ["scheduler", "triggerer"])
def test_a_process_of_airflow_that_stopped(drill: Drill, name: str) -> None:
    frozen = [member.pid for member in drill.stack.processes.members(f"airflow-{name}")]
    assert frozen
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)

    def go_on() -> None:
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    drill.trouble(f"{name} stopped", f"airflow silent: {name}", go_on, limit_seconds=180)


def test_postgres_down(drill: Drill) -> None:
    services: Mapping[str, object] = {one.name: one for one in drill.stack.services()}
    assert "postgres" in services
    drill.stack.processes.stop("postgres")

    def start() -> None:
        drill.stack.postgres.prepare()
        drill.stack.up()

    drill.trouble("Postgres down", "postgres down", start, limit_seconds=180)


def test_a_dag_paused_by_a_person(drill: Drill) -> None:
    dag_id = f"{DATASET}_gold"
    drill.airflow.set_paused(dag_id, True)
    drill.trouble(
        "DAG paused by a person", f"dag paused: {dag_id}", lambda: drill.airflow.set_paused(dag_id, False)
    )


def test_gold_stale(drill: Drill) -> None:
    dag_id = f"{DATASET}_gold"
    drill.airflow.set_paused(dag_id, True)
    drill.send("--source", "synthetic", "--count", "50", "--seed", "11")

    def publish() -> None:
        drill.airflow.set_paused(dag_id, False)
        run = drill.airflow.trigger(dag_id)
        wait_until(lambda: drill.airflow.state(dag_id, run) == "success", WAIT_SECONDS, "gold")

    drill.trouble("gold stale", f"{DATASET}: gold stale", publish, limit_seconds=90)


def test_the_mail_server_down(drill: Drill) -> None:
    dag_id = "lake_maintenance"
    run = drill.airflow.trigger(dag_id)  # one that no one has started yet is not paused by anyone
    wait_until(lambda: drill.airflow.state(dag_id, run) in ("success", "failed"), WAIT_SECONDS, dag_id)
    drill.stack.processes.stop("mail")
    drill.airflow.set_paused(dag_id, True)

    def waits() -> bool:
        with psycopg.connect(drill.stack.airflow.settings["MEDALLION_GOLD_DSN"]) as connection:
            return bool(connection.execute("SELECT 1 FROM audit.outbox").fetchone())

    wait_until(waits, WAIT_SECONDS, "the alert in the outbox")
    drill.stack.processes.start(drill.stack.mail.service())
    drill.trouble(
        "mail server down (mail after it is back)",
        f"dag paused: {dag_id}",
        lambda: drill.airflow.set_paused(dag_id, False),
    )


def test_everything_rejected(drill: Drill) -> None:
    drill.send("--source", "synthetic", "--count", "10", "--broken", "200")
    drill.trouble(
        "everything rejected",
        f"{DATASET}: quarantine rate",
        lambda: drill.send("--source", "synthetic", "--count", "5000", "--seed", "12"),
    )


@pytest.mark.parametrize(
    ("name", "subject", "settings"),
    [
        ("disk full (by its threshold)", "disk full", {"DISK_FREE_PERCENT": "100"}),
        (
            "expected traffic missing",
            f"{DATASET}: traffic missing",
            {"SERVICE_LEVELS": f"{DATASET}.expected_interval=1"},
        ),
    ],
)
def test_a_limit_that_a_look_by_hand_has(
    drill: Drill, name: str, subject: str, settings: Mapping[str, str]
) -> None:
    begin = len(drill.mail.messages())
    drill.look(**settings)
    wait_until(lambda: any(subject in one for one in drill.subjects(begin)), WAIT_SECONDS, subject)
    # It is over at the DAG's own looks, whose limits are others.
    began = time.monotonic()
    closed = drill._wait(begin, f"[medallion] Over: {subject}", began)
    drill.lines.append({"trouble": name, "limit": 0, "mail after s": 0, "closed after s": round(closed)})
    assert closed <= MOST_SECONDS


def test_the_driver_stopped(drill: Drill) -> None:
    frozen = drill.processes("stream_to_silver.py")
    assert frozen
    for process in frozen:
        process.suspend()
    # No repair: Airflow ends the frozen driver and submits another one.
    drill.trouble("driver stopped (SIGSTOP)", f"{DATASET}: stream silent", lambda: None, limit_seconds=45)


def test_the_executors_stopped(drill: Drill) -> None:
    frozen = drill.processes("CoarseGrainedExecutorBackend")
    assert frozen
    for process in frozen:
        process.suspend()
    drill.send("--source", "synthetic", "--count", "50", "--seed", "13")

    def go_on() -> None:
        for process in frozen:
            with suppress(psutil.Error):
                process.resume()

    drill.trouble("executors stopped", f"{DATASET}: batch hangs", go_on, limit_seconds=60)


def test_the_stream_killed_for_good(drill: Drill) -> None:
    dag_id = f"{DATASET}_streaming"
    drill.airflow.set_paused(dag_id, True)
    drill.stack.processes.stop("spark-master")  # else it launches the driver again
    drill.stack.processes.stop("spark-worker")

    def start() -> None:
        drill.stack.up()
        drill.airflow.set_paused(dag_id, False)

    drill.trouble("stream killed for good", f"{DATASET}: stream silent", start, limit_seconds=45)


def test_a_planted_loss(drill: Drill) -> None:
    from kafka import TopicPartition
    from kafka.admin import KafkaAdminClient

    topic = load_dataset(DATASET).topic
    command = [sys.executable, "-m", "medallion_ops.control"]
    environment = drill.stack.airflow.environment()
    subprocess.run([*command, "stop", DATASET], env=environment, check=True)
    lake = LakeView(drill.stack.airflow.settings["MEDALLION_LAKE_URI"], "customers")
    wait_until(lambda: lake.records() > 0, WAIT_SECONDS, "the lake")
    time.sleep(30)  # the driver ends after its micro-batch
    drill.send("--source", "synthetic", "--count", "200", "--seed", "14")
    admin = KafkaAdminClient(bootstrap_servers=drill.stack.broker.bootstrap)
    try:
        partitions = [TopicPartition(topic, number) for number in range(4)]
        admin.delete_records(dict.fromkeys(partitions, -1))
    finally:
        admin.close()
    drill.send("--source", "synthetic", "--count", "200", "--seed", "15")
    subprocess.run([*command, "start", DATASET], env=environment, check=True)
    start = len(drill.mail.messages())
    began = time.monotonic()
    mailed = drill._wait(start, f"[medallion] {DATASET}: loss", began)
    closed = drill._wait(start, f"[medallion] Over: {DATASET}: loss", began + mailed)
    # It is over when the recent past has no loss any more.
    recent = RECENT.total_seconds()
    line = {"trouble": "planted loss", "limit": 0, "mail after s": round(mailed)}
    drill.lines.append({**line, "closed after s": f"{round(closed)} ({recent:.0f} s of them its period)"})
    assert mailed <= MOST_SECONDS
    assert closed - recent <= MOST_SECONDS
