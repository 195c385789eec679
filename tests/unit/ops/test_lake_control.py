"""The control command: stop requests, the lease as others see it, and what `show` names."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medallion_contracts.errors import LeaseError, ParameterError
from medallion_ops.control import StreamControl, main
from medallion_ops.monitor.stream_view import stream_view
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths
from settings_of_tests import settings


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(str(tmp_path), "customers")


@pytest.fixture
def control(tmp_path: Path) -> StreamControl:
    return StreamControl(settings(LAKE_URI=str(tmp_path), LAKE_AUTH="none").lake, "customers")


def hold_lease(paths: LakePaths, seconds_ago: float) -> None:
    beat = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
    Path(paths.lease).parent.mkdir(parents=True, exist_ok=True)
    Path(paths.lease).write_text(json.dumps({"owner": "stream:1", "heartbeat_at": beat}))


def test_a_stop_request_is_there_until_its_owner_takes_it_back(
    control: StreamControl, paths: LakePaths
) -> None:
    control.request_stop("run-1")
    assert json.loads(Path(paths.stop_request).read_text())["owner"] == "run-1"
    assert not control.release("run-2")
    assert control.release("run-1")
    assert json.loads(Path(paths.stop_request).read_text())["released_at"] is not None


def test_a_retry_may_ask_again_and_others_may_not(control: StreamControl) -> None:
    control.request_stop("run-1")
    control.request_stop("run-1")
    with pytest.raises(LeaseError, match="run-1"):
        control.request_stop("run-2")


def test_the_log_that_the_stream_found_is_accepted_as_it_found_it(
    control: StreamControl, paths: LakePaths
) -> None:
    with pytest.raises(ParameterError, match="no other log"):
        control.accept_log()
    found = {
        "topic": "customers",
        "incarnation": 1,
        "cluster_id": "c",
        "topic_id": "t",
        "problem": "another id",
    }
    Path(paths.control).mkdir(parents=True)
    Path(paths.other_log).write_text(json.dumps({"at": "now", "logs": [found]}))
    assert control.accept_log() == ["customers (another id)"]
    assert control.accept_log() == ["customers (another id)"], "twice is once"
    assert json.loads(Path(paths.accept_log_request).read_text())["logs"] == [found]
    assert control.show()["other_log"]["logs"] == [found]


@pytest.mark.parametrize("command", ["accept-log", "recover", "start"])
def test_a_command_that_lets_the_stream_go_on_ends_its_failure(
    paths: LakePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    lake = settings(LAKE_URI=str(tmp_path), LAKE_AUTH="none").lake
    files = FolderFiles()
    files.write(paths.other_log, {"logs": [{"topic": "customers", "problem": "another id"}]})
    files.write(paths.failure, {"at": datetime.now(UTC).isoformat(), "error": "another log"})
    assert stream_view(lake, paths, datetime.now(UTC)).failure == "another log"
    monkeypatch.setenv("MEDALLION_LAKE_URI", str(tmp_path))
    monkeypatch.setenv("MEDALLION_LAKE_AUTH", "none")
    assert main([command, "customers"]) == 0
    assert stream_view(lake, paths, datetime.now(UTC)).failure is None
    assert (files.read(paths.failure) or {})["ended_by"] == command
    files.write(paths.failure, {"at": datetime.now(UTC).isoformat(), "error": "again"})
    assert stream_view(lake, paths, datetime.now(UTC)).failure == "again", "a later failure stands"


def test_a_lease_without_a_heartbeat_is_free(control: StreamControl, paths: LakePaths) -> None:
    assert control.lease_holder() is None
    hold_lease(paths, seconds_ago=5)
    assert control.lease_holder() == "stream:1"
    hold_lease(paths, seconds_ago=90)
    assert control.lease_holder() is None


def test_waiting_for_silver_ends_when_it_is_free_or_names_who_holds_it(
    control: StreamControl, paths: LakePaths
) -> None:
    hold_lease(paths, seconds_ago=0)
    with pytest.raises(LeaseError, match="stream:1"):
        control.wait_until_free(0.1, poll_seconds=0.05)
    threading.Timer(0.2, Path(paths.lease).unlink).start()
    assert control.wait_until_free(5, poll_seconds=0.05) < 5


def test_the_command_stops_and_starts_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDALLION_LAKE_URI", str(tmp_path))
    assert main(["stop", "customers"]) == 0
    assert main(["show", "customers"]) == 0
    assert '"owner": "a person"' in capsys.readouterr().out
    assert main(["start", "customers"]) == 0
    assert "taken back" in capsys.readouterr().out
    assert main(["start", "customers"]) == 0
    assert "no stop request" in capsys.readouterr().out


def test_show_names_both_drivers_and_a_forgotten_request(control: StreamControl, paths: LakePaths) -> None:
    nothing = control.show()
    assert nothing["drivers"] == {
        "submitted_last": None,
        "before_it": None,
        "heartbeat_of": None,
        "heartbeat_is_fresh": False,
    }
    now = datetime.now(UTC)
    files = FolderFiles()
    submitted = {
        "token": "t",
        "requested_at": now.isoformat(),
        "driver_id": "d-2",
        "previous_driver_id": "d-1",
    }
    files.write(paths.stream_driver, submitted)
    files.write(paths.heartbeat, {"driver_id": "d-1", "at": now.isoformat(), "state": "working"})
    control.request_stop("run-1")
    assert control.show()["drivers"] == {
        "submitted_last": "d-2",
        "before_it": "d-1",
        "heartbeat_of": "d-1",
        "heartbeat_is_fresh": True,
    }
    assert control.show()["forgotten"] is None
    request = files.read(paths.stop_request) or {}
    files.write(paths.stop_request, {**request, "at": (now - timedelta(hours=5)).isoformat()})
    assert "run-1" in control.show()["forgotten"]


def test_a_wrong_setting_is_one_message_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDALLION_LAKE_URI", "lake")
    assert main(["show", "customers"]) == 1
    assert "MEDALLION_LAKE_URI" in capsys.readouterr().err
