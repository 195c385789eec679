"""Logs and Data Docs stay within their limits, on a clock of our own."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from medallion_ops.upkeep.folders import delete_old_data_docs, delete_old_files

START = datetime(2026, 1, 1, tzinfo=UTC)


def write(path: Path, moment: datetime) -> None:
    """A file, and its folder, last written at a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text")
    for one in (path, path.parent):
        os.utime(one, (moment.timestamp(), moment.timestamp()))


def test_a_year_of_logs_stays_within_the_days_kept(tmp_path: Path) -> None:
    kept: list[int] = []
    for day in range(365):
        now = START + timedelta(days=day)
        write(tmp_path / "dag_id=gold" / f"run_id={day}" / "task_id=write" / "attempt=1.log", now)
        delete_old_files(tmp_path, now - timedelta(days=30))
        kept.append(len(list(tmp_path.rglob("*.log"))))
    assert kept[-1] == max(kept) == 31
    assert len(list(tmp_path.rglob("run_id=*"))) == 31, "no empty folders stay"


def test_links_and_what_they_lead_to_stay_apart(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "file", START)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "latest").symlink_to(tmp_path / "elsewhere")
    delete_old_files(logs, START + timedelta(days=1))
    assert (tmp_path / "elsewhere" / "file").exists()


def test_data_docs_stay_within_the_days_kept_and_the_newest_set_always_does(tmp_path: Path) -> None:
    for day in range(100):
        write(
            tmp_path / "validations" / "customers" / f"set-{day}" / "page.html", START + timedelta(days=day)
        )
    deleted = delete_old_data_docs(tmp_path, START + timedelta(days=90))
    assert (deleted, len(list(tmp_path.rglob("set-*")))) == (90, 10)
    assert delete_old_data_docs(tmp_path, START + timedelta(days=900)) == 9
    assert [path.name for path in tmp_path.rglob("set-*")] == ["set-99"]
