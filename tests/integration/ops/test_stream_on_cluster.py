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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from medallion_ops.control import StreamControl
from medallion_ops.settings import LakeSettings, Settings, SparkSettings
from medallion_ops.spark.operators import StreamDriverOperator
from medallion_ops.spark.submission import ClusterClient
from medallion_ops.streaming.driver import StreamDriver
from medallion_ops.streaming.triggers import StreamDriverTrigger
from medallion_store.control_files import control_files
from medallion_store.lake_paths import LakePaths
from services import SparkServers

STAND_IN = """
import argparse, json, os, sys, time
from datetime import datetime, timezone
from pathlib import Path
import medallion_stand_in

parser = argparse.ArgumentParser()
parser.add_argument("--lake-uri")
parser.add_argument("--submission")
given, _ = parser.parse_known_args()
heartbeat = Path(given.lake_uri, "ledger/customers_heartbeat.json")
request = Path(given.lake_uri, "control/customers/stop_request.json")
heartbeat.parent.mkdir(parents=True, exist_ok=True)
secrets = os.environ["MEDALLION_SECRETS_FILE"]
def stop_request():
    return json.loads(request.read_text()) if request.exists() else {}

known = stop_request().get("id")
while stop_request().get("id") == known:
    beat = {"submission": given.submission, "driver_id": os.path.basename(os.getcwd()), "jvm": os.getppid(),
            "at": datetime.now(timezone.utc).isoformat(), "secrets": secrets}
    heartbeat.with_suffix(".tmp").write_text(json.dumps(beat))
    heartbeat.with_suffix(".tmp").replace(heartbeat)
    time.sleep(0.3)
    if os.getppid() != beat["jvm"]:
        sys.exit(1)
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


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not after {seconds} s"
        time.sleep(0.2)


@pytest.fixture
def stream(servers: SparkServers, jobs: Path) -> Iterator[Stream]:
    (jobs / "stream_to_silver.py").write_text(STAND_IN)
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


async def first_event(trigger: StreamDriverTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("the trigger ended without an event")
