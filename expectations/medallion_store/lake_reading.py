"""Names what is wrong when a lake table cannot be read.

A power cut may leave the newest commit file of a table's log cut short, where the disk had promised more than
it kept. delta-rs then names neither table nor file. The files are looked at only after it has failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medallion_contracts.errors import DamagedLog, ServiceUnavailable

if TYPE_CHECKING:
    from pyarrow.fs import PyFileSystem

_LOG = "_delta_log"
_MOST_LOOKED_AT = 200
"""Commits since the last checkpoint, and as many again."""


@contextmanager
def lake_reading(path: str, storage: Mapping[str, str]) -> Iterator[None]:
    """A block that reads a table; that there is no such table stays deltalake's TableNotFoundError.

    Args:
        path: of the table.
        storage: how to log in to the lake; empty for a folder.

    Raises:
        DamagedLog: a commit file of the table's log is cut short.
        ServiceUnavailable: the table cannot be read for another reason.
    """
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        yield
    except TableNotFoundError:
        raise
    except (DeltaError, OSError) as error:
        refuse_cut_commit(path, storage)
        raise ServiceUnavailable(
            f"{path} cannot be read ({type(error).__name__}): check that the lake answers, "
            "MEDALLION_LAKE_URI and MEDALLION_LAKE_AUTH"
        ) from None


def refuse_cut_commit(path: str, storage: Mapping[str, str]) -> None:
    """Look for a commit file that is cut short, after the table could not be read.

    Args:
        path: of the table.
        storage: how to log in to the lake; empty for a folder.

    Raises:
        DamagedLog: names the file, and what to do.
    """
    names = _cut_commits(path, storage)
    if not names:
        return
    [name, is_newest] = names[0]
    remedy = (
        "it is the newest commit: move the file away and start again, and what it held is named, with the "
        "way to bring it back"
        if is_newest
        else "newer commits build on it: bring the file back from a backup, or the table's whole folder; "
        "without one move the folder away and start again, and the way to make the table again is named"
    )
    raise DamagedLog(f"{path}/{_LOG}/{name} is cut short, as a power cut leaves a file; {remedy}")


def _cut_commits(path: str, storage: Mapping[str, str]) -> list[tuple[str, bool]]:
    """Damaged commit files, the newest first, and whether each is the newest of all."""
    from deltalake.exceptions import DeltaError
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import FileSelector, PyFileSystem

    try:
        files = PyFileSystem(DeltaStorageHandler(path, dict(storage)))
        there = files.get_file_info(FileSelector(_LOG))
        names = sorted((one.base_name for one in there if one.base_name.endswith(".json")), reverse=True)
        return [
            (name, place == 0)
            for place, name in enumerate(names[:_MOST_LOOKED_AT])
            if not _is_whole(files, name)
        ]
    except (DeltaError, OSError):
        return []  # the lake does not answer: that is the reason


def _is_whole(files: PyFileSystem, name: str) -> bool:
    with files.open_input_file(f"{_LOG}/{name}") as file:
        lines = file.readall().splitlines()
    try:
        return all(isinstance(json.loads(line), dict) for line in lines)
    except ValueError:
        return False
