"""Attempts at a batch and at the start, and the failure that is left for operators."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medallion_spark.stream.control import FORGET_STARTS_SECONDS, AttemptCounter
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths
from medallion_store.stream_failure import failure_of

FILES = FolderFiles()


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(str(tmp_path), "customers")


def test_the_third_exception_of_a_batch_is_reported(paths: LakePaths) -> None:
    for attempt in (1, 2, 3):
        driver = AttemptCounter(FILES, paths)
        assert driver.begin("q", 7)
        assert driver.failed("q", 7, "it does not add up", "BalanceError") == (attempt == 3)
    failure = FILES.read(paths.failure) or {}
    assert (failure["query_id"], failure["batch_id"], failure["attempts"]) == ("q", 7, 3)
    assert (failure["error"], failure["kind"]) == ("it does not add up", "BalanceError")
    assert AttemptCounter(FILES, paths).begin("q", 7), "whoever starts it again gets new attempts"


def test_drivers_that_die_without_a_word_are_counted_too(paths: LakePaths) -> None:
    for _ in range(3):
        assert AttemptCounter(FILES, paths).begin("q", 7)
    assert not AttemptCounter(FILES, paths).begin("q", 7)
    assert "died each time" in (FILES.read(paths.failure) or {})["error"]


def test_the_third_failed_start_in_a_row_is_reported(paths: LakePaths) -> None:
    ends = [AttemptCounter(FILES, paths).failed_outside("OSError: no chmod") for _ in range(3)]
    assert ends == [False, False, True]
    failure = FILES.read(paths.failure) or {}
    assert (failure["batch_id"], failure["error"]) == (None, "OSError: no chmod")
    assert not AttemptCounter(FILES, paths).failed_outside("again"), (
        "whoever starts it again gets new attempts"
    )


def test_failed_starts_are_forgotten_after_a_good_batch_and_after_a_while(paths: LakePaths) -> None:
    driver = AttemptCounter(FILES, paths)
    driver.failed_outside("one")
    driver.failed_outside("two")
    driver.succeeded()
    assert not driver.failed_outside("three")
    long_ago = datetime.now(UTC) - timedelta(seconds=FORGET_STARTS_SECONDS + 1)
    FILES.write(f"{paths.control}/start_attempts.json", {"attempts": 2, "at": long_ago.isoformat()})
    assert not driver.failed_outside("four")


def test_a_batch_that_ends_well_is_forgotten(paths: LakePaths) -> None:
    for _ in range(2):
        AttemptCounter(FILES, paths).begin("q", 7)
    driver = AttemptCounter(FILES, paths)
    assert driver.begin("q", 7)
    driver.succeeded()
    assert driver.begin("q", 8)
    assert not driver.failed("q", 8, "x")
    assert not AttemptCounter(FILES, paths).failed("q", 9, "another batch"), "counts are for one batch"


def is_failed(paths: LakePaths) -> bool:
    failure = failure_of(FILES.read(paths.failure))
    return failure is not None and failure.is_standing


def test_a_failure_ends_when_a_later_driver_has_committed_a_batch(paths: LakePaths) -> None:
    AttemptCounter(FILES, paths).cannot_start("another log is behind customers", "OtherLogError")
    driver = AttemptCounter(FILES, paths)
    driver.begin("q", 7)
    assert is_failed(paths), "a batch that has only begun proves nothing"
    driver.succeeded()
    assert not is_failed(paths)
    assert (FILES.read(paths.failure) or {})["error"] == "another log is behind customers", "kept as history"


def test_a_failure_ends_when_a_later_driver_runs_without_records(paths: LakePaths) -> None:
    AttemptCounter(FILES, paths).cannot_start("the checkpoint is gone")
    AttemptCounter(FILES, paths).runs_without_records()
    assert not is_failed(paths)


def test_a_failure_stands_while_batches_begin_and_fail(paths: LakePaths) -> None:
    AttemptCounter(FILES, paths).cannot_start("the checkpoint is gone")
    driver = AttemptCounter(FILES, paths)
    driver.begin("q", 7)
    driver.runs_without_records()
    driver.failed("q", 7, "x")
    assert is_failed(paths)


def test_a_failure_that_came_during_the_batch_is_not_hidden_by_its_end(paths: LakePaths) -> None:
    AttemptCounter(FILES, paths).cannot_start("the checkpoint is gone")
    driver = AttemptCounter(FILES, paths)
    driver.begin("q", 7)
    AttemptCounter(FILES, paths).cannot_start("batch 7 hung")
    driver.succeeded()
    assert is_failed(paths)


def test_a_failure_after_one_that_ended_stands(paths: LakePaths) -> None:
    AttemptCounter(FILES, paths).cannot_start("the checkpoint is gone")
    driver = AttemptCounter(FILES, paths)
    driver.begin("q", 7)
    driver.succeeded()
    driver.cannot_start("another log is behind customers")
    assert is_failed(paths)


def test_a_driver_killed_before_it_noted_the_end_leaves_that_to_the_next(paths: LakePaths) -> None:
    AttemptCounter(FILES, paths).cannot_start("the checkpoint is gone")
    AttemptCounter(FILES, paths).begin("q", 7)  # killed after its batch
    after = AttemptCounter(FILES, paths)
    after.begin("q", 8)
    after.succeeded()
    assert not is_failed(paths)
