"""Drivers that stand still in a batch: they end themselves, or find that their time is over."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from fault.checker import check, read_lake
from fault.drivers import TOPICS, Crash, Drivers
from fault.findings import FaultTable
from fault.records import mixed_records, send
from fault.topic_log import read_topics

from medallion_contracts.loader import load_dataset
from medallion_store.folder_files import FolderFiles
from medallion_store.lease import LEASE_STALE_SECONDS, Lease
from services import BrokerServer

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


def read_back(drivers: Drivers, table: FaultTable, name: str, seconds: float) -> None:
    topics = read_topics(drivers.bootstrap, TOPICS)
    report = check(topics, read_lake(drivers.paths), load_dataset("customers"))
    table.add(name, report, seconds)
    assert report.is_clean, report


def test_a_batch_that_hangs_ends_its_driver_and_the_next_one_takes_it_up(
    own_broker: BrokerServer, tmp_path: Path, fault_table: FaultTable
) -> None:
    drivers = Drivers(tmp_path / "lake", own_broker.bootstrap)
    send(own_broker.bootstrap, mixed_records(1000, seed=1))
    hanging = drivers.start(Crash("before", "silver", "HANG"), "--batch-hang-minutes=0.5")
    jvms = jvms_of(hanging)
    died, before = drivers.wait_for_death(), drivers.batches()
    assert not any(jvm.is_running() and jvm.status() != psutil.STATUS_ZOMBIE for jvm in jvms)
    files = FolderFiles()
    assert "hung" in (files.read(drivers.paths.hang) or {})["error"]
    assert (files.read(drivers.paths.heartbeat) or {})["state"] == "hanging"
    drivers.start()
    seconds = drivers.wait_for_batch(before, died)
    drivers.catch_up_and_stop()
    read_back(drivers, fault_table, "driver: batch hangs", seconds)


def test_a_jvm_that_does_not_answer_ends_with_its_driver(
    own_broker: BrokerServer, tmp_path: Path, fault_table: FaultTable
) -> None:
    drivers = Drivers(tmp_path / "lake", own_broker.bootstrap)
    send(own_broker.bootstrap, mixed_records(1000, seed=1))
    frozen = drivers.start(None, "--batch-hang-minutes=0.5")
    [jvm] = jvms_of(frozen)
    drivers.wait_until(drivers.is_caught_up)
    jvm.suspend()
    send(own_broker.bootstrap, mixed_records(1000, seed=2))
    died, before = drivers.wait_for_death(), drivers.batches()
    assert not jvm.is_running() or jvm.status() == psutil.STATUS_ZOMBIE
    drivers.start()
    seconds = drivers.wait_for_batch(before, died)
    drivers.catch_up_and_stop()
    read_back(drivers, fault_table, "driver: JVM does not answer", seconds)


def test_a_driver_stopped_until_its_lease_has_passed_through_other_hands_commits_no_more(
    own_broker: BrokerServer, tmp_path: Path, fault_table: FaultTable
) -> None:
    drivers = Drivers(tmp_path / "lake", own_broker.bootstrap)
    send(own_broker.bootstrap, mixed_records(1000, seed=1))
    stopped = drivers.start(Crash("before", "check", "STOP"))
    jvms = jvms_of(stopped)
    drivers.wait_until(lambda: psutil.Process(stopped.pid).status() == psutil.STATUS_STOPPED)
    rebuild = Lease(FolderFiles(), drivers.paths.lease, "rebuild")
    rebuild.acquire(wait_seconds=LEASE_STALE_SECONDS + 10)
    rebuild.release()
    before, log = drivers.batches(), lake_log(drivers)
    for process in (*jvms, psutil.Process(stopped.pid)):
        os.kill(process.pid, signal.SIGCONT)
    died = drivers.wait_for_death()
    assert lake_log(drivers) == log, "no commit follows"
    drivers.start()
    seconds = drivers.wait_for_batch(before, died)
    drivers.catch_up_and_stop()
    read_back(drivers, fault_table, "driver: stopped until its lease was lost", seconds)


def jvms_of(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The driver's JVM, waiting for it."""
    deadline = time.monotonic() + 60
    while not (found := [c for c in psutil.Process(driver.pid).children() if c.name() == "java"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def lake_log(drivers: Drivers) -> set[str]:
    """Every commit of every table."""
    return {str(path) for path in drivers.lake.rglob("_delta_log/*.json")}
