"""What ends a driver on a real broker: a lost lease, a stop request, another submission, a hanging batch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from medallion_contracts.errors import LeaseError
from medallion_spark.stream import hang_guard, liveness
from medallion_spark.stream.batch import MicroBatches
from medallion_spark.stream.control import AttemptCounter
from medallion_spark.stream.query import Stream
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths
from medallion_store.lease import Lease
from medallion_store.stop_request import StopRequests
from medallion_store.stream_driver import Submission
from stream_runs import PATIENCE_SECONDS, Topics, read, running, stream, wait_for


@pytest.fixture
def topics(broker: str) -> Topics:
    return Topics(broker)


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(str(tmp_path / "lake"), "customers")


def run_to_its_end(driver: Stream) -> list[BaseException]:
    """Run the driver; gives what it raised."""
    try:
        driver.run()
    except Exception as error:
        return [error]
    return []


def test_a_lease_that_is_gone_is_lost_and_no_commit_follows(
    spark: SparkSession, topics: Topics, paths: LakePaths
) -> None:
    topics.send(3, "a")
    driver, ends = stream(spark, topics, paths), list[list[BaseException]]()
    thread = threading.Thread(target=lambda: ends.append(run_to_its_end(driver)))
    thread.start()
    wait_for(lambda: read(paths) == 3)
    rebuild = Lease(FolderFiles(), paths.lease, "rebuild")
    FolderFiles().delete(paths.lease)  # a rebuild of the release before ran while the driver stood still
    topics.send(4, "b")
    thread.join(PATIENCE_SECONDS)
    [[error]] = ends
    assert isinstance(error, LeaseError)
    assert read(paths) == 3
    assert DeltaTable(paths.bronze).to_pyarrow_dataset().count_rows() == 3
    rebuild.acquire()


def test_a_driver_that_was_asked_to_stop_ends_although_the_request_was_taken_back_at_once(
    spark: SparkSession, topics: Topics, paths: LakePaths
) -> None:
    topics.send(3, "a")
    driver, ends = stream(spark, topics, paths), list[list[BaseException]]()
    thread = threading.Thread(target=lambda: ends.append(run_to_its_end(driver)))
    thread.start()
    wait_for(lambda: read(paths) == 3)
    stops = StopRequests(FolderFiles(), paths)
    request = stops.request("a person")
    stops.release(None)
    thread.join(PATIENCE_SECONDS)
    assert ends == [[]]
    assert (FolderFiles().read(paths.heartbeat) or {})["state"] == "stopped"
    # Its supervisor may have started it again before it looked: it still is the driver that was asked.
    submission = Submission("token", "2026-11-28T00:00:00+00:00")
    FolderFiles().write(paths.stream_driver, asdict(submission))
    before = read(paths)
    topics.send(2, "b")
    stream(spark, topics, paths).run()
    assert read(paths) == before
    FolderFiles().write(paths.stream_driver, asdict(replace(submission, after_stop=request.id)))
    with running(stream(spark, topics, paths), paths):
        wait_for(lambda: read(paths) == before + 2)


@pytest.mark.parametrize("ended_at", [None, "2026-11-28T00:00:01+00:00"])
def test_a_driver_of_another_submission_than_the_last_ends_itself(
    spark: SparkSession, topics: Topics, paths: LakePaths, ended_at: str | None
) -> None:
    token = "another" if ended_at is None else "token"
    last = Submission(token, "2026-11-28T00:00:00+00:00", ended_at=ended_at)
    FolderFiles().write(paths.stream_driver, asdict(last))
    stream(spark, topics, paths).run()
    assert not Path(paths.lease).exists()


def test_a_batch_that_hangs_ends_its_driver_and_the_third_time_is_reported(
    spark: SparkSession, topics: Topics, paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[bool] = []
    release = threading.Event()

    class Killed(Exception):
        """Stands for the end of the process."""

    drivers: list[Stream] = []

    def hang(*_: Any) -> None:
        drivers[-1]._hang_guard._hang_seconds = 1  # only now: starting takes longer than that
        release.wait(PATIENCE_SECONDS)
        raise Killed

    def end(jvm_pid: int, has_given_up: bool) -> None:
        assert jvm_pid > 1
        drivers[-1]._hang_guard._hang_seconds = 86_400  # a process ends but once
        ends.append(has_given_up)
        release.set()

    topics.send(3, "a")
    with monkeypatch.context() as patch:
        patch.setattr(liveness, "LEASE_BEAT_SECONDS", 0.5)
        patch.setattr(liveness, "_LOOK_SECONDS", 0.5)
        patch.setattr(MicroBatches, "process", hang)
        patch.setattr(hang_guard, "end_driver", end)
        patch.setattr(AttemptCounter, "failed", count_once(AttemptCounter.failed, release))
        for attempt in (1, 2, 3):
            release.clear()
            drivers.append(stream(spark, topics, paths))
            run_to_its_end(drivers[-1])
            assert ends == [False] * (attempt - 1) + [attempt == 3]
            hung = FolderFiles().read(paths.hang) or {}
            assert (hung["batch_id"], "batch 0 hung" in hung["error"]) == (0, True)
    failure = FolderFiles().read(paths.failure) or {}
    assert (failure["batch_id"], failure["attempts"]) == (0, 3)
    assert "no Spark task finished" in failure["error"]
    with running(stream(spark, topics, paths), paths):
        wait_for(lambda: read(paths) == 3)


def count_once(failed: Callable[..., bool], is_ended: threading.Event) -> Callable[..., bool]:
    """The product's count of failures, deaf to what follows where the process would have ended."""
    return lambda *arguments: not is_ended.is_set() and failed(*arguments)


def test_the_heartbeat_says_when_a_task_last_finished(
    spark: SparkSession, topics: Topics, paths: LakePaths
) -> None:
    begin = datetime.now(UTC)
    topics.send(3, "a")
    driver = stream(spark, topics, paths)
    with running(driver, paths):
        wait_for(lambda: read(paths) == 3)
        wait_for(lambda: (driver._heartbeat()["last_task_at"] or "") > begin.isoformat())
        heartbeat = driver._heartbeat()
    assert heartbeat["batch_started_at"] > begin.isoformat()
    assert heartbeat["idle_seconds"] < 60
