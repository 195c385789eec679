"""The lease on silver: one holder at a time, and lost when its file is another one or gone."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lease_race import lease_winners
from medallion_contracts.errors import LeaseError
from medallion_store import lease as lease_module
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_login import LakeLogin
from medallion_store.lake_paths import LakePaths
from medallion_store.lease import Lease, LeaseThread, lease_holder

FILES = FolderFiles()


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
    assert lease_holder(FILES.read(paths.lease)) is None
    rebuild.acquire()
    rebuild.check()
    with pytest.raises(LeaseError):
        stream.check()
    assert lease_holder(FILES.read(paths.lease)) == rebuild.owner


@pytest.mark.parametrize(("kind", "stale"), [("stream", 15), ("rebuild", 60)])
def test_a_lease_without_a_sign_of_life_expires(paths: LakePaths, kind: str, stale: int) -> None:
    Lease(FILES, paths.lease, "stream").acquire()
    other = Lease(FILES, paths.lease, kind)
    age_lease(paths, stale - 5)
    with pytest.raises(LeaseError):
        other.acquire()
    age_lease(paths, stale + 5)
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


@pytest.mark.parametrize("how", ["removed", "released"])
def test_a_lease_whose_file_went_through_another_owner_is_lost(paths: LakePaths, how: str) -> None:
    stream, rebuild = Lease(FILES, paths.lease, "stream"), Lease(FILES, paths.lease, "rebuild")
    stream.acquire()
    age_lease(paths, 100)
    rebuild.acquire()
    rebuild.release()
    if how == "removed":  # as the release before did it
        FILES.delete(paths.lease)
    stream.beat()
    with pytest.raises(LeaseError, match="lost"):
        stream.check()
    assert lease_holder(FILES.read(paths.lease)) is None, "a lost lease is not taken back in passing"


def test_a_file_that_is_gone_is_a_lost_lease(paths: LakePaths) -> None:
    lease = Lease(FILES, paths.lease, "stream")
    lease.acquire()
    FILES.delete(paths.lease)
    with pytest.raises(LeaseError, match="released or removed"):
        lease.check()


def test_a_check_gives_the_commit_after_it_the_full_time(paths: LakePaths) -> None:
    lease = Lease(FILES, paths.lease, "stream")
    lease.acquire()
    before = (FILES.read(paths.lease) or {})["heartbeat_at"]
    lease.check()
    assert (FILES.read(paths.lease) or {})["heartbeat_at"] > before


def test_a_lease_of_a_machine_whose_clock_is_ahead_expires_too(
    paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lease(FILES, paths.lease, "stream").acquire()
    age_lease(paths, -3600)
    monkeypatch.setattr(lease_module, "LEASE_STALE_SECONDS", 2)
    Lease(FILES, paths.lease, "rebuild").acquire(wait_seconds=10)


def test_a_living_owner_keeps_it_for_as_long_as_it_beats(
    paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "LEASE_BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease_module, "STALE_STREAM_SECONDS", 0.5)
    lease = Lease(FILES, paths.lease, "stream")
    lease.acquire()
    thread = LeaseThread(lease)
    thread.start()
    with pytest.raises(LeaseError):
        Lease(FILES, paths.lease, "stream").acquire(wait_seconds=1.5)
    thread.stop()
    time.sleep(0.6)
    Lease(FILES, paths.lease, "stream").acquire()


def test_half_a_file_is_no_holder(paths: LakePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_UNREADABLE_SECONDS", 0.1)
    Path(paths.lease).parent.mkdir(parents=True)
    Path(paths.lease).write_text('{"owner": "str')
    lease = Lease(FILES, paths.lease, "stream")
    lease.acquire()
    lease.check()


def test_of_two_processes_that_take_it_at_once_one_has_it(tmp_path: Path) -> None:
    assert [len(owners) for owners in lease_winners(LakeLogin(str(tmp_path)), 15)] == [1] * 15


@pytest.mark.full
def test_of_two_processes_that_take_it_at_once_one_has_it_200_times(tmp_path: Path) -> None:
    assert [len(owners) for owners in lease_winners(LakeLogin(str(tmp_path)), 200)] == [1] * 200
