"""Makes a Delta table in a folder look older than it is, for tests of what is kept for how long."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any


def age(table: str, by: timedelta, older_than: timedelta = timedelta(0)) -> None:
    """Move commits of at least that age into the past: the log's times, and those of the files it names."""
    limit = time.time() - older_than.total_seconds()
    for commit in sorted(Path(table, "_delta_log").glob("*.json")):
        if commit.stat().st_mtime > limit:
            continue
        actions = [json.loads(line) for line in commit.read_text().splitlines()]
        for action in actions:
            _move(action, by)
            for kind in ("add", "remove"):
                if kind in action:
                    _set_back(Path(table, action[kind]["path"]), by)
        aged = commit.with_suffix(".aged")
        aged.write_text("".join(json.dumps(action) + "\n" for action in actions))
        aged.replace(commit)
        _set_back(commit, by)


def _move(action: dict[str, Any], by: timedelta) -> None:
    for kind, name in (
        ("commitInfo", "timestamp"),
        ("add", "modificationTime"),
        ("remove", "deletionTimestamp"),
    ):
        if action.get(kind, {}).get(name) is not None:
            action[kind][name] -= int(by.total_seconds() * 1000)


def _set_back(file: Path, by: timedelta) -> None:
    # Its inode's age: a file that was set back before is not set back again.
    if file.exists() and (state := file.stat()).st_ctime - state.st_mtime < by.total_seconds() / 2:
        os.utime(file, (state.st_atime, state.st_mtime - by.total_seconds()))
