"""Lease, attempts and heartbeat: the files between the stream and its operators."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medallion_contracts.errors import LeaseError
from medallion_spark.small_files import LocalFiles
from medallion_spark.stream.control import FORGET_STARTS_SECONDS, AttemptCounter, Lease
from medallion_store.lake_paths import LakePaths

FILES = LocalFiles()


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(str(tmp_path), "customers")


def age_lease(paths: LakePaths, seconds: float) -> None:
    """Make the lease's last sign of life that old."""
    holder = FILES.read(paths.lease) or {}
    then = datetime.now(UTC) - timedelta(seconds=seconds)
    FILES.write(paths.lease, {**holder, "heartbeat_at": then.isoformat()})


def test_one_holder_at_a_time(paths: LakePaths) -> None:
    stream, rebuild = Lease(FILES, paths.lease, "stream"), Lease(FILES, paths.lease, "rebuild")
    stream.acquire()
    stream.check()
    with pytest.raises(LeaseError, match=f"held by {stream.owner}"):
        rebuild.acquire()
    stream.release()
    rebuild.acquire()
    rebuild.check()
    with pytest.raises(LeaseError):
        stream.check()


@pytest.mark.parametrize(("kind", "patience"), [("stream", 15), ("rebuild", 60)])
def test_a_lease_without_a_sign_of_life_is_nobodys(paths: LakePaths, kind: str, patience: int) -> None:
    Lease(FILES, paths.lease, "stream").acquire()
    other = Lease(FILES, paths.lease, kind)
    age_lease(paths, patience - 5)
    with pytest.raises(LeaseError):
        other.acquire()
    age_lease(paths, patience + 5)
    other.acquire()
    other.check()


def test_a_holder_that_was_overtaken_stops_and_leaves_the_file_alone(paths: LakePaths) -> None:
    old, new = Lease(FILES, paths.lease, "stream"), Lease(FILES, paths.lease, "stream")
    old.acquire()
    age_lease(paths, 100)
    new.acquire()
    old.beat()
    with pytest.raises(LeaseError, match="stops writing"):
        old.check()
    old.release()
    assert (FILES.read(paths.lease) or {})["owner"] == new.owner


def test_half_a_file_is_no_holder(paths: LakePaths) -> None:
    Path(paths.lease).parent.mkdir(parents=True)
    Path(paths.lease).write_text('{"owner": "str')
    lease = Lease(FILES, paths.lease, "stream")
    lease.acquire()
    lease.check()


def test_the_third_exception_of_a_batch_is_reported(paths: LakePaths) -> None:
    for attempt in (1, 2, 3):
        driver = AttemptCounter(FILES, paths)
        assert driver.begin("q", 7)
        assert driver.failed("q", 7, "BalanceError: it does not add up") == (attempt == 3)
    failure = FILES.read(paths.failure) or {}
    assert (failure["query_id"], failure["batch_id"], failure["attempts"]) == ("q", 7, 3)
    assert failure["error"] == "BalanceError: it does not add up"
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


def test_small_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    assert FILES.read(str(path)) is None
    FILES.write(str(path), {"x": 1})
    FILES.write(str(path), {"x": 2})
    assert json.loads(path.read_text()) == {"x": 2}
    assert [entry.name for entry in path.parent.iterdir()] == ["b.json"], "nothing is left beside it"
    FILES.delete(str(path))
    FILES.delete(str(path))
    assert FILES.read(str(path)) is None
