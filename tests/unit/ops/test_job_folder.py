"""A job's temporary files are gone when the job is, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medallion_ops.spark import job_folder as folders
from medallion_ops.spark.job_folder import delete_abandoned_folders, job_folder

HOLDS = """
import time
from medallion_ops.spark.job_folder import job_folder
with job_folder() as folder:
    (folder / "blockmgr").mkdir()
    print(folder, flush=True)
    time.sleep(300)
"""


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_the_folder_of_a_job_that_ends_or_fails_is_removed(base: Path) -> None:
    def fails() -> None:
        with job_folder() as folder:
            (folder / "spark-1").mkdir()
            (folder / "spark-1" / "block").write_text("rows")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert list(base.iterdir()) == []


def test_the_folder_of_a_killed_job_is_removed_and_that_of_a_running_one_is_not(base: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", HOLDS],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert running.stdout is not None
    folder = Path(running.stdout.readline().strip())
    assert delete_abandoned_folders() == 0
    assert (folder / "blockmgr").is_dir()
    running.send_signal(signal.SIGKILL)
    running.wait()
    running.stdout.close()
    with job_folder() as next_one:
        assert list(base.iterdir()) == [next_one], "the next job removes it"


def test_a_folder_whose_making_was_cut_short_is_removed_later(base: Path) -> None:
    base.mkdir()
    made = base / ".medallion-job-x"
    made.mkdir()
    assert delete_abandoned_folders() == 0
    long_ago = time.time() - 2 * folders._MAKING_SECONDS
    os.utime(made, (long_ago, long_ago))
    assert delete_abandoned_folders() == 1


def test_other_files_in_the_folder_for_temporary_files_are_left_alone(base: Path) -> None:
    (base / "spark-of-others").mkdir(parents=True)
    with job_folder():
        pass
    assert [entry.name for entry in base.iterdir()] == ["spark-of-others"]
