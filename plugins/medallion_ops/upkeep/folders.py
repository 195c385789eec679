"""Deletes old files below a folder: task logs and Data Docs."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path


def delete_old_files(folder: Path, before: datetime) -> int:
    """Delete files last written before a time, and folders left empty; gives the number of files.

    A file that another process deletes at the same time is no error. Links are not followed.
    """
    deleted = 0
    for where, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(where, name)
            with suppress(FileNotFoundError):
                if path.lstat().st_mtime < before.timestamp():
                    path.unlink()
                    deleted += 1
        if Path(where) != folder:
            with suppress(OSError):  # not empty: somebody writes there
                if Path(where).stat().st_mtime < before.timestamp() or not any(Path(where).iterdir()):
                    Path(where).rmdir()
    return deleted


def delete_old_data_docs(site: Path, before: datetime) -> int:
    """Delete the pages of sets written before a time, but the newest of each table; gives their number."""
    deleted = 0
    for table in (*site.glob("validations/*"), *site.glob("results/*")):
        sets = sorted(table.glob("set-*"), key=lambda folder: folder.stat().st_mtime)
        for folder in sets[:-1]:
            if folder.stat().st_mtime < before.timestamp():
                shutil.rmtree(folder)
                deleted += 1
    return deleted
