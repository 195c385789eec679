"""One streaming driver on a real Spark cluster: submitted once, followed everywhere, its end told.

The job itself is a stand-in that only gives the stream's heartbeat and obeys stop requests.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from medallion_contracts.errors import ServiceUnavailable, SubmissionUnknown
from medallion_ops.control import StreamControl
from medallion_ops.lake_settings import LakeSettings
from medallion_ops.settings import Settings
from medallion_ops.spark.jobs import SparkJob
from medallion_ops.spark.operators import StreamDriverOperator
from medallion_ops.spark.settings import SparkSettings
from medallion_ops.spark.submission import ClusterClient
from medallion_ops.streaming import decision
from medallion_ops.streaming.driver import StreamDriver
from medallion_ops.streaming.triggers import StreamDriverTrigger
from medallion_stack.layout import PROJECT
from medallion_store.control_files import control_files
from medallion_store.lake_paths import LakePaths
from services import SparkServers

STAND_IN = """
import argparse, json, os, sys, time
from pathlib import Path
import medallion_stand_in
from medallion_store.driver_orders import DriverOrders
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths
from medallion_store.utc_time import utc_text

parser = argparse.ArgumentParser()
parser.add_argument("--lake-uri")
parser.add_argument("--submission")
given, _ = parser.parse_known_args()
files, paths = FolderFiles(), LakePaths(given.lake_uri, "customers")
orders = DriverOrders(files, paths, given.submission)
jvm, secrets = os.getppid(), os.environ["MEDALLION_SECRETS_FILE"]
if orders.refusal():
    sys.exit(0)
while not orders.is_asked_to_stop():
    beat = {"submission": given.submission, "driver_id": os.path.basename(os.getcwd()), "jvm": jvm,
            "pid": os.getpid(), "at": utc_text(), "secrets": secrets, "state": "waiting"}
    files.write(paths.heartbeat, beat)
    time.sleep(0.3)
    if os.getppid() != jvm:
        sys.exit(1)
files.write(paths.heartbeat, {**beat, "at": utc_text(), "state": "stopped"})
"""


class Stream:
    """The streaming task and its driver, on a cluster and lake of their own."""

    def __init__(self, servers: SparkServers) -> None:
        self.servers = servers
        self.lake = LakeSettings.from_environment()
        self.paths = LakePaths(self.lake.uri, "customers")
        self.files = control_files(self.lake.login)
        self.control = StreamControl(self.lake, "customers")
        self.cluster = ClusterClient(SparkSettings.from_environment())

    def run_task(self) -> Any:
        """What a new process of the task does; None when it deferred."""
        task = StreamDriverOperator(task_id="stream", dataset="customers", poll_seconds=0.2)
        try:
            return task.execute({})
        except TaskDeferred:
            return None

    def heartbeat(self) -> dict[str, Any]:
        return self.files.read(self.paths.heartbeat) or {}

    def drivers(self) -> set[str]:
        """Drivers that the master calls active."""
        with urllib.request.urlopen(f"{self.servers.cluster.web_url}/json/") as answer:
            return {driver["id"] for driver in json.load(answer)["activedrivers"]}

    def beating_driver(self, after: float) -> str:
        """The driver that gave a heartbeat after a moment, waiting for it."""
        wait_for(lambda: self._beat_age(after))
        return str(self.heartbeat()["driver_id"])

    def _beat_age(self, after: float) -> bool:
        file = Path(self.paths.heartbeat)
        return file.exists() and file.stat().st_mtime > after

    def kill_driver(self) -> None:
        os.kill(self.heartbeat()["jvm"], signal.SIGKILL)

    def freeze_driver(self) -> None:
        """Stop the driver's two processes where they are, as a debugger or a swapped-out machine does."""
        for process in ("pid", "jvm"):
            os.kill(self.heartbeat()[process], signal.SIGSTOP)


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not after {seconds} s"
        time.sleep(0.2)


@pytest.fixture
def stream(servers: SparkServers, jobs: Path) -> Iterator[Stream]:
    (jobs / "stream_to_silver.py").write_text(STAND_IN)
    with zipfile.ZipFile(jobs / "medallion.zip", "a") as archive:
        for package in ("medallion_contracts", "medallion_store"):
            for module in (PROJECT / "expectations" / package).glob("*.py"):
                archive.write(module, f"{package}/{module.name}")
    made = Stream(servers)
    yield made
    for driver in made.drivers():
        made.cluster.kill(driver)
    wait_for(lambda: not made.drivers())


def test_a_driver_is_submitted_once_and_survives_every_restart_of_the_task(stream: Stream) -> None:
    begin = time.time()
    assert stream.run_task() is None
    driver = stream.beating_driver(begin)
    assert stream.heartbeat()["secrets"] == str(stream.servers.cluster.secrets_file)
    for _ in range(3):
        assert stream.run_task() is None
    assert stream.drivers() == {driver}

    # The driver's JVM is killed: its worker starts it again under the same id.
    killed = time.time()
    stream.kill_driver()
    assert stream.beating_driver(killed + 1) == driver
    assert stream.run_task() is None
    assert stream.drivers() == {driver}


def test_a_submission_that_was_not_written_down_is_found_by_its_heartbeat(stream: Stream) -> None:
    begin = time.time()
    stream.run_task()
    record = stream.files.read(stream.paths.stream_driver) or {}
    stream.files.write(stream.paths.stream_driver, {**record, "driver_id": None})
    driver = stream.beating_driver(begin)
    assert stream.run_task() is None
    assert (stream.files.read(stream.paths.stream_driver) or {})["driver_id"] == driver
    assert stream.drivers() == {driver}


def test_a_driver_whose_worker_was_lost_is_followed_to_its_new_id(stream: Stream) -> None:
    begin = time.time()
    stream.run_task()
    first = stream.beating_driver(begin)
    killed = time.time()
    stream.servers.worker.kill()
    wait_for(lambda: stream.cluster.status(first).state == "RELAUNCHING")
    assert stream.run_task() is None  # nothing is submitted while it waits for a worker
    stream.servers.worker.start()
    second = stream.beating_driver(killed + 1)
    assert second != first
    assert stream.run_task() is None
    assert stream.drivers() == {second}


def test_a_stop_request_ends_the_driver_without_an_alert_and_keeps_it_away(stream: Stream) -> None:
    begin = time.time()
    stream.run_task()
    driver = stream.beating_driver(begin)
    stream.control.request_stop("test")
    event = asyncio.run(first_event(StreamDriverTrigger("customers", 0.2)))
    assert event["step"] == "end"
    assert "as requested" in stream.run_task()
    assert stream.run_task() is None  # the next DAG run waits
    assert not stream.drivers()
    stream.control.release("test")
    event = asyncio.run(first_event(StreamDriverTrigger("customers", 0.2)))
    assert event["step"] == "submit"
    assert stream.run_task() is None
    assert stream.drivers() != {driver}
    assert len(stream.drivers()) == 1


def test_an_end_that_nobody_asked_for_fails_the_task_and_another_driver_follows(stream: Stream) -> None:
    begin = time.time()
    stream.run_task()
    driver = stream.beating_driver(begin)
    stream.cluster.kill(driver)
    wait_for(lambda: not stream.cluster.status(driver).is_active)
    with pytest.raises(AirflowFailException, match="KILLED") as raised:
        stream.run_task()
    assert driver in str(raised.value)
    assert stream.run_task() is None  # a pause first
    assert not stream.drivers()
    assert "pause" in StreamDriver(Settings.from_environment(), "customers").observe().reason


def test_a_driver_orphaned_by_an_unknown_submission_ends_itself(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphans: list[str] = []
    submit = ClusterClient.submit

    def lose_the_answer(self: ClusterClient, job: SparkJob) -> str:
        orphans.append(submit(self, job))
        raise SubmissionUnknown("no answer")

    begin = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(ClusterClient, "submit", lose_the_answer)
        with pytest.raises(SubmissionUnknown):
            stream.run_task()
    monkeypatch.setattr(decision, "START_SECONDS", 0)  # the orphan is queued for longer than anyone waits
    assert stream.run_task() is None
    driver = stream.beating_driver(begin)
    [orphan] = orphans
    assert driver != orphan
    wait_for(lambda: not stream.cluster.status(orphan).is_active)
    assert stream.cluster.status(orphan).state == "FINISHED"
    assert stream.run_task() is None
    assert stream.drivers() == {driver}


def test_stop_followed_at_once_by_start_ends_the_driver_and_another_one_runs(stream: Stream) -> None:
    begin = time.time()
    stream.run_task()
    first = stream.beating_driver(begin)
    stream.control.request_stop("a person")
    stream.control.release(None)
    event = asyncio.run(first_event(StreamDriverTrigger("customers", 0.2)))
    assert event["step"] == "end"
    assert "as requested" in stream.run_task()
    again = time.time()
    assert stream.run_task() is None
    second = stream.beating_driver(again)
    assert stream.drivers() == {second} != {first}
    shown = stream.control.show()["drivers"]
    assert (shown["submitted_last"], shown["before_it"]) == (second, first)
    time.sleep(2)
    assert stream.drivers() == {second}, "the old request is not meant for the new driver"


def test_a_driver_that_was_frozen_is_found_reported_and_replaced(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision, "SILENT_SECONDS", 3)
    monkeypatch.setattr(decision, "FIRST_PAUSE_SECONDS", 0)
    begin = time.time()
    stream.run_task()
    first = stream.beating_driver(begin)
    stream.freeze_driver()
    assert stream.cluster.status(first).state == "RUNNING", "the master sees nothing"
    event = asyncio.run(first_event(StreamDriverTrigger("customers", 0.2)))
    assert event["step"] == "end"
    with pytest.raises(AirflowFailException, match="no heartbeat"):
        stream.run_task()
    event = asyncio.run(first_event(StreamDriverTrigger("customers", 0.2)))
    assert event["step"] == "submit"
    assert stream.drivers() == set(), "the old one has ended before another is submitted"
    again = time.time()
    assert stream.run_task() is None
    second = stream.beating_driver(again)
    assert stream.drivers() == {second} != {first}


@pytest.mark.full
@pytest.mark.timeout(900)
def test_ten_restarts_of_master_task_and_triggerer_submit_no_second_driver(stream: Stream) -> None:
    begin = time.time()
    stream.run_task()
    driver = stream.beating_driver(begin)
    for _ in range(10):
        stream.servers.master.kill()
        with ThreadPoolExecutor(3) as tasks:  # a lost task, its successor, the triggerer
            tries = [tasks.submit(try_task, stream) for _ in range(3)]
            stream.servers.master.start()
            for one in tries:
                one.result()
        since = time.time()
        assert stream.beating_driver(since) == driver
        wait_for(lambda: stream.drivers() == {driver})
        assert stream.run_task() is None
        assert stream.drivers() == {driver}


@pytest.mark.full
@pytest.mark.timeout(900)
def test_ten_times_three_tasks_at_once_submit_one_driver(stream: Stream) -> None:
    for _ in range(10):
        with ThreadPoolExecutor(3) as tasks:
            for one in [tasks.submit(try_task, stream) for _ in range(3)]:
                one.result()
        assert len(stream.drivers()) == 1
        stream.control.request_stop("test")
        stream.control.release("test")
        wait_for(lambda: not stream.drivers())
        assert "as requested" in stream.run_task()


def try_task(stream: Stream) -> None:
    """A process of the task that may find the master away."""
    with suppress(ServiceUnavailable):
        stream.run_task()


async def first_event(trigger: StreamDriverTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("the trigger ended without an event")
