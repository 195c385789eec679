"""Stop requests: one owner at a time, kept after their release, and reported when they are forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medallion_contracts.errors import LeaseError
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths
from medallion_store.stop_request import StopRequests, forgotten_stop_request, stop_request_of

FILES = FolderFiles()
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(str(tmp_path), "customers")


def test_it_stands_until_its_owner_takes_it_back(paths: LakePaths) -> None:
    stops = StopRequests(FILES, paths)
    assert not stops.is_standing()
    stops.request("run-1")
    assert not stops.release("run-2")
    assert stops.is_standing()
    assert stops.release("run-1")
    assert not stops.is_standing()
    assert not stops.release(None)


def test_a_retry_asks_the_same_again_and_others_may_not(paths: LakePaths) -> None:
    stops = StopRequests(FILES, paths)
    assert stops.request("run-1") == stops.request("run-1")
    with pytest.raises(LeaseError, match="run-1"):
        stops.request("run-2")


def test_each_request_is_another_one(paths: LakePaths) -> None:
    stops = StopRequests(FILES, paths)
    first = stops.request("run-1")
    stops.release(None)
    second = stops.request("run-1")
    assert first.id != second.id


@pytest.mark.parametrize(
    "content", [{"owner": "a person", "at": "2026-11-28T11:00:00+00:00"}, {}, {"by": "test"}]
)
def test_a_request_of_the_release_before_stands(paths: LakePaths, content: dict[str, str]) -> None:
    FILES.write(paths.stop_request, content)
    stops = StopRequests(FILES, paths)
    assert stops.is_standing()
    assert stops.current() == stops.current()
    assert stops.release(None)


def test_a_file_that_cannot_be_read_keeps_the_stream_away(paths: LakePaths) -> None:
    Path(paths.stop_request).parent.mkdir(parents=True)
    Path(paths.stop_request).write_text("{")
    assert StopRequests(FILES, paths).is_standing()
    assert StopRequests(FILES, paths).release(None)


@pytest.mark.parametrize(("hours", "is_reported"), [(0.1, False), (2.9, False), (3.1, True), (50, True)])
def test_a_request_that_no_one_takes_back_is_reported_after_hours(hours: float, is_reported: bool) -> None:
    at = (NOW - timedelta(hours=hours)).isoformat()
    standing = stop_request_of({"id": "1", "owner": "run-1", "at": at})
    report = forgotten_stop_request(standing, NOW)
    assert (report is not None) == is_reported
    assert report is None or "run-1" in report
    assert forgotten_stop_request(stop_request_of({"owner": "x", "at": at, "released_at": at}), NOW) is None
    assert forgotten_stop_request(None, NOW) is None


def test_a_request_of_unknown_age_is_reported() -> None:
    assert "unknown time" in (forgotten_stop_request(stop_request_of({"owner": "x"}), NOW) or "")
