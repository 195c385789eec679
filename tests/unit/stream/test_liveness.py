"""Progress as the driver sees it, and its heartbeat beside another driver's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from medallion_spark.stream import liveness
from medallion_spark.stream.liveness import HeartbeatThread, ProgressWatch, Sight
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths
from medallion_store.lease import Lease

FILES = FolderFiles()


class Driver:
    """A driver at a place that the test chooses, and its watch on a clock of the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.sight = Sight(tasks=0, position="batch 1", has_work=True)
        self.watch = ProgressWatch(lambda: self.sight)
        self.watch.look()

    def idle_after(self, seconds: float) -> float:
        self.now += seconds
        return self.watch.idle_seconds


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def test_a_batch_in_which_tasks_finish_is_not_idle_however_long_it_takes(driver: Driver) -> None:
    for task in range(1, 20):
        assert driver.idle_after(300) == 300
        driver.sight = Sight(task, "batch 1", True)
        driver.watch.look()
        assert driver.watch.idle_seconds == 0
        assert driver.watch.last_task_at is not None


def test_a_batch_in_which_nothing_finishes_is_idle_however_often_one_looks(driver: Driver) -> None:
    for _ in range(3):
        driver.idle_after(100)
        driver.watch.look()
    assert driver.watch.idle_seconds == 300


def test_waiting_for_the_next_trigger_is_not_idle(driver: Driver) -> None:
    driver.sight = Sight(0, "waiting", has_work=False)
    driver.idle_after(5000)
    driver.watch.look()
    assert driver.watch.idle_seconds == 0


def test_a_jvm_that_does_not_answer_is_idle(driver: Driver) -> None:
    driver.sight = Sight(0, "waiting", has_work=False)
    driver.watch.look()
    assert driver.idle_after(700) == 700, "no look has come back since"


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(str(tmp_path), "customers")


def heartbeat(paths: LakePaths, lease: Lease) -> HeartbeatThread:
    return HeartbeatThread(FILES, paths.heartbeat, lease, lambda: {"owner": lease.owner})


def test_a_driver_that_lost_its_lease_leaves_the_heartbeat_of_the_next_one_alone(paths: LakePaths) -> None:
    old_lease, new_lease = Lease(FILES, paths.lease, "stream"), Lease(FILES, paths.lease, "stream")
    old_lease.acquire()
    old = heartbeat(paths, old_lease)
    old.start()
    FILES.delete(paths.lease)
    new_lease.acquire()
    new = heartbeat(paths, new_lease)
    new.start()
    old.stop()
    old.beat()
    assert (FILES.read(paths.heartbeat) or {})["owner"] == new_lease.owner
    new.beat()
    new.stop()


def test_the_holder_of_the_lease_takes_its_heartbeat_back(paths: LakePaths) -> None:
    lease = Lease(FILES, paths.lease, "stream")
    lease.acquire()
    mine = heartbeat(paths, lease)
    mine.start()
    FILES.write(paths.heartbeat, {"owner": "stream:of the release before"})
    mine.beat()
    assert (FILES.read(paths.heartbeat) or {})["owner"] == lease.owner
    mine.stop()


def test_what_each_beat_has_to_do_is_done_also_while_the_lake_is_away(
    paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "LEASE_BEAT_SECONDS", 0.02)
    lease, beats = Lease(FILES, paths.lease, "stream"), list[int]()
    lease.acquire()
    thread = HeartbeatThread(FILES, paths.heartbeat, lease, dict, lambda: beats.append(1))
    thread.start()

    def fail() -> None:
        raise OSError("away")

    monkeypatch.setattr(lease, "beat", fail)
    deadline = time.monotonic() + 10
    before = len(beats)
    while len(beats) < before + 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    thread.stop()
