"""Small JSON files in the lake by which jobs, Airflow and people agree: one protocol for both sides.

Each file is replaced as a whole: a reader sees the old or the new content, never half of one. A write may
depend on what is there: `create` needs that there is no file, `replace` that the file is the one that was
read. Of two writers that read the same file only one succeeds.

| lake | the tag of a content | what makes a conditional write one step |
|---|---|---|
| ADLS | the blob's ETag | a put with If-None-Match or If-Match |
| a folder | a hash of the content | a file lock beside it, around reading, comparing and renaming |

Killed inside a write, a process leaves the old or the new content and perhaps a temporary file, which no one
reads and the next write in that folder removes; the kernel releases its lock. What it wrote without hearing
of it (a put whose answer was lost, and which the client sent again) is recognised by its content, which every
writer makes unique by a time or an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from medallion_store.blob_files import BlobFiles
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_login import LakeLogin
from medallion_store.stored_file import StoredFile


class ControlFiles(Protocol):
    """JSON files by their full path, as `LakePaths` spells it. Each call may raise ServiceUnavailable."""

    def load(self, path: str) -> StoredFile:
        """The file with its tag."""

    def read(self, path: str) -> dict[str, Any] | None:
        """The object in the file, or None when there is no such file; anything else in it is an error."""

    def write(self, path: str, content: Mapping[str, Any]) -> str:
        """Put the object there, whatever was there; gives the new tag."""

    def create(self, path: str, content: Mapping[str, Any]) -> str | None:
        """Put the object there if there is no file; gives its tag, None when there is one."""

    def replace(self, path: str, content: Mapping[str, Any], tag: str) -> str | None:
        """Put the object there if the file still has this tag; gives the new tag, None when it has not."""

    def delete(self, path: str) -> None:
        """Remove the file; no file is fine."""


def control_files(login: LakeLogin) -> ControlFiles:
    """The control files of a lake: a folder or ADLS Gen2."""
    return FolderFiles() if login.is_local else BlobFiles(login)


def store_if_unchanged(
    files: ControlFiles, path: str, content: Mapping[str, Any], tag: str | None
) -> str | None:
    """Write what depends on a file that was loaded.

    Args:
        files: where.
        path: of the file.
        content: the new object.
        tag: what `load` gave; None when there was no file.

    Returns:
        The new tag; None when the file is another one by now.
    """
    return files.create(path, content) if tag is None else files.replace(path, content, tag)
