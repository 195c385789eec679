"""What `make status` says of a stream, from its files alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from medallion_stack.stream_status import stream_lines
from medallion_store.control_files import control_files
from medallion_store.lake_login import LakeLogin
from medallion_store.lake_paths import LakePaths
from settings_of_tests import ENVIRONMENT


def test_a_stream_shows_what_it_warns_of_and_no_negative_ages(tmp_path: Path) -> None:
    paths = LakePaths(str(tmp_path), "customers")
    ahead = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    heartbeat = {"at": ahead, "state": "waiting", "warnings": ["a transaction is open since offset 7"]}
    control_files(LakeLogin(uri=str(tmp_path))).write(paths.heartbeat, heartbeat)
    lake = {"MEDALLION_LAKE_URI": str(tmp_path), "MEDALLION_LAKE_AUTH": "none"}
    environ = {**ENVIRONMENT, **lake, "MEDALLION_DATASETS": "customers"}
    _, line, warning = stream_lines(environ, is_up=True, broker_runs=False)
    assert line.split()[:4] == ["customers", "waiting", "0", "s"]
    assert "none yet" in line
    assert warning == "  a transaction is open since offset 7"


def test_the_state_of_a_stream_is_no_news_while_the_stack_is_down(tmp_path: Path) -> None:
    paths, files = LakePaths(str(tmp_path), "customers"), control_files(LakeLogin(uri=str(tmp_path)))
    files.write(paths.failure, {"at": datetime.now(UTC).isoformat(), "error": "another log"})
    lake = {"MEDALLION_LAKE_URI": str(tmp_path), "MEDALLION_LAKE_AUTH": "none"}
    environ = {**ENVIRONMENT, **lake, "MEDALLION_DATASETS": "customers"}
    _, line = stream_lines(environ, is_up=False, broker_runs=False)
    assert "stack is down" in line
    assert "FAILED" not in line
    _, line = stream_lines(environ, is_up=True, broker_runs=False)
    assert line.split()[:5] == ["customers", "FAILED", "-", "-", "-"]
