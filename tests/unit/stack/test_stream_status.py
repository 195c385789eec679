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
    _, line, warning = stream_lines(environ, broker_runs=False)
    assert line.split()[:4] == ["customers", "waiting", "0", "s"]
    assert "none yet" in line
    assert warning == "  a transaction is open since offset 7"
