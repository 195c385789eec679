"""Stream, jobs and Airflow of other contracts or code refuse each other, and name the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medallion_contracts.errors import ReleaseMismatch
from medallion_ops.streaming.stream_release import refuse_stream_of_other_release
from medallion_stack.bootstrap import PY_FILES, are_jobs_built, build_jobs
from medallion_store.control_files import control_files
from medallion_store.heartbeat import STOPPED, WORKING
from medallion_store.lake_paths import LakePaths
from medallion_store.release import refuse_other_release, release
from medallion_store.utc_time import utc_text
from settings_of_tests import settings

NOW = "now"


def release_of(folder: Path) -> str:
    """What a job of that folder says it is."""
    code = "from medallion_store.release import release; print(release())"
    archive = folder / PY_FILES
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_jobs_that_are_laid_out_are_of_the_release_of_their_sources(tmp_path: Path) -> None:
    build_jobs(tmp_path)
    assert release_of(tmp_path) == release()


def test_jobs_that_are_missing_or_of_other_sources_are_noticed(tmp_path: Path) -> None:
    assert not are_jobs_built(tmp_path)
    build_jobs(tmp_path)
    assert are_jobs_built(tmp_path)
    (tmp_path / "stream_to_silver.py").write_text("# of yesterday")
    assert not are_jobs_built(tmp_path)


def test_a_job_refuses_whoever_runs_another_release() -> None:
    refuse_other_release(release())
    refuse_other_release(None)
    with pytest.raises(ReleaseMismatch, match=f"release abc of(.|\n)*{release()}(.|\n)*make roll-out"):
        refuse_other_release("abc")


@pytest.mark.parametrize(
    ("heartbeat", "is_refused"),
    [
        (None, False),
        ({"state": WORKING, "at": NOW, "release": release()}, False),
        ({"state": WORKING, "at": NOW, "release": "abc"}, True),
        ({"state": WORKING, "at": NOW}, True),  # a driver of before releases were told
        ({"state": STOPPED, "at": NOW, "release": "abc"}, False),
        ({"state": WORKING, "at": "2026-01-01T00:00:00+00:00", "release": "abc"}, False),
    ],
)
def test_airflow_does_not_work_beside_a_living_stream_of_another_release(
    tmp_path: Path, heartbeat: dict[str, object] | None, is_refused: bool
) -> None:
    lake = settings(LAKE_URI=str(tmp_path), LAKE_AUTH="none").lake
    if heartbeat is not None:
        path = LakePaths(lake.uri, "customers").heartbeat
        Path(path).parent.mkdir(parents=True)
        at = utc_text() if heartbeat["at"] == NOW else heartbeat["at"]
        control_files(lake.login).write(path, {**heartbeat, "at": at})
    if is_refused:
        with pytest.raises(
            ReleaseMismatch, match=r"the stream of customers runs release (?s:.)*make roll-out"
        ):
            refuse_stream_of_other_release(lake, "customers")
    else:
        refuse_stream_of_other_release(lake, "customers")
