"""Reads Delta's log without Spark, in a second: what silver is now, and what came since a version.

The gold job and Airflow both ask here, so that they decide alike. What has been published is known by the
content of its commit in the log: a version number alone is given again when a table is restored from a backup
and grows on. Where that commit is still there, only the commits after it are read, so that the question costs
what came since, however old and large the table is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from medallion_store.lake_reading import lake_reading
from medallion_store.refresh_plan import Commit, Published, SilverState

if TYPE_CHECKING:
    from deltalake.fs import DeltaStorageHandler

_COMMIT_NAME = re.compile(r"\d{20}\.json")
_INFO = b'{"commitInfo"'
_FIRST_LOOK = 100
"""Commits of a table that was never published from, to see whether one has rows."""


def silver_state(
    path: str, storage_options: Mapping[str, str], published: Published | None
) -> SilverState | None:
    """Identity, newest version and latest commits of silver; None when there is no such table yet.

    Args:
        path: of the silver table.
        storage_options: how to log in to the lake; empty for a folder.
        published: the last publication: the history is read back to the version after it.

    Raises:
        DamagedLog: a commit file of silver's log is cut short.
        ServiceUnavailable: the lake does not answer.
    """
    from deltalake.exceptions import TableNotFoundError

    try:
        with lake_reading(path, storage_options):
            if published is not None and published.commit_id is not None:
                state = _since_published(_Log(path, storage_options), published)
                if state is not None:
                    return state
            return _whole_state(path, storage_options, published)
    except TableNotFoundError:
        return None


def oldest_with_rows(path: str, storage_options: Mapping[str, str], after: int) -> datetime | None:
    """When the first commit with rows after a version was made (UTC); None when there is none.

    Only commits after the version are read, up to that one; of those that the log no longer has nothing is
    known. There is none in a table that was set back before the version, or that does not exist yet.

    Args:
        path: of the table.
        storage_options: how to log in to the lake; empty for a folder.
        after: the version.
    """
    from deltalake.exceptions import TableNotFoundError

    try:
        with lake_reading(path, storage_options):
            log = _Log(path, storage_options)
            if log.commit(after) is None and log.commit(after + 1) is None:
                after = log.oldest(after + 1) - 1
            for version, content in log.after(after):
                entry = _commit_info(content)
                if entry is not None and _commit(version, entry).adds_rows:
                    return datetime.fromtimestamp(int(entry.get("timestamp") or 0) / 1000, UTC)
    except TableNotFoundError:
        pass
    return None


def rows_since(path: str, storage_options: Mapping[str, str], version: int) -> tuple[int, int] | None:
    """How many rows came after a version, and the newest version, from the commits after it alone.

    Args:
        path: of the table.
        storage_options: how to log in to the lake; empty for a folder.
        version: whose rows were counted.

    Returns:
        None where those commits do not tell: rows went, too, or the log no longer has the version.
    """
    with lake_reading(path, storage_options):
        log, rows, newest = _Log(path, storage_options), 0, version
        if log.commit(version) is None:
            return None
        for number, content in log.after(version):
            added = _added_rows(content)
            if added is None:
                return None
            rows, newest = rows + added, number
        return rows, newest


def _added_rows(content: bytes) -> int | None:
    """Rows that a commit appends; None when it takes rows away, or does not tell."""
    rows = 0
    try:
        actions = [json.loads(line) for line in content.splitlines()]
        for action in actions:
            if action.get("remove", {}).get("dataChange"):
                return None
            if action.get("add", {}).get("dataChange"):
                rows += int(json.loads(action["add"]["stats"])["numRecords"])
    except (ValueError, KeyError, TypeError):
        return None
    return rows if actions else None


def added_files(path: str, storage_options: Mapping[str, str], after: int, to: int) -> list[str] | None:
    """Files with the rows that the versions after one up to another appended, relative to the table.

    Args:
        path: of the table.
        storage_options: how to log in to the lake; empty for a folder.
        after: the version before the first.
        to: the last version.

    Returns:
        None where a commit is no longer there, or names files in a way that takes more than reading them.
    """
    log = _Log(path, storage_options)
    added: list[str] = []
    for version in range(after + 1, to + 1):
        content = log.commit(version)
        if content is None:
            return None
        actions = [json.loads(line) for line in content.splitlines()]
        for file in (action["add"] for action in actions if "add" in action):
            if file.get("deletionVector") or "://" in file["path"]:
                return None
            if file.get("dataChange", True):
                added.append(unquote(file["path"]))
    return added


class _Log:
    """The commit files of a table."""

    def __init__(self, path: str, storage_options: Mapping[str, str]) -> None:
        from deltalake.fs import DeltaStorageHandler

        self._files: DeltaStorageHandler = DeltaStorageHandler(path, dict(storage_options))

    def commit(self, version: int) -> bytes | None:
        """The content of a commit; None when there is none, or no longer."""
        try:
            with self._files.open_input_file(f"_delta_log/{version:020}.json") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def after(self, version: int) -> Iterator[tuple[int, bytes]]:
        """The commits that follow a version in their order, as far as there is one after the other."""
        while (content := self.commit(version + 1)) is not None:
            version += 1
            yield version, content

    def oldest(self, at_least: int) -> int:
        """The oldest version from a number on whose commit is there; the number itself if none is."""
        from pyarrow.fs import FileSelector, PyFileSystem

        files = PyFileSystem(self._files).get_file_info(FileSelector("_delta_log"))
        versions = (int(one.base_name[:20]) for one in files if _COMMIT_NAME.fullmatch(one.base_name))
        return min((version for version in versions if version >= at_least), default=at_least)

    def commit_id(self, version: int) -> str | None:
        """Identity of a commit, None when it is not there."""
        content = self.commit(version)
        return None if content is None else _identity(content)


def _identity(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _since_published(log: _Log, published: Published) -> SilverState | None:
    """Silver as the commits after the published one tell it; None where they do not tell all."""
    found = log.commit_id(published.to_version)
    if found is None or found != published.commit_id:
        return None
    commits: list[Commit] = []
    version, newest = published.to_version, found
    for number, content in log.after(version):
        entry = _commit_info(content)
        if entry is None:  # half-written by a power cut, or by a writer that tells nothing
            return None
        version, newest = number, _identity(content)
        commits.append(_commit(version, entry))
    return SilverState(published.silver_table_id, version, tuple(commits), newest, found)


def _whole_state(path: str, storage_options: Mapping[str, str], published: Published | None) -> SilverState:
    from deltalake import DeltaTable

    table = DeltaTable(path, storage_options=dict(storage_options))
    version, log = table.version(), _Log(path, storage_options)
    there = log.commit_id(published.to_version) if published else None
    if published is None:
        missing = _FIRST_LOOK
    elif there is None or published.commit_id not in (None, there):
        missing = 0  # all of silver is to be read, whatever came since
    else:
        missing = version - published.to_version
    return SilverState(
        table_id=str(table.metadata().id),
        version=version,
        commits=tuple(
            _commit(entry["version"], entry) for entry in (table.history(missing) if missing > 0 else [])
        ),
        commit_id=log.commit_id(version),
        published_commit_id=there,
    )


def _commit_info(content: bytes) -> dict[str, Any] | None:
    """What a commit says of itself; None when it says nothing, or is cut short."""
    lines = content.splitlines()
    try:
        if lines:
            json.loads(lines[-1])
        info = next((json.loads(line)["commitInfo"] for line in lines if line.startswith(_INFO)), None)
    except ValueError:
        return None
    return info if isinstance(info, dict) else None


def _commit(version: int, entry: Mapping[str, Any]) -> Commit:
    return Commit.from_history(
        version,
        entry.get("operation", ""),
        entry.get("operationParameters") or {},
        entry.get("operationMetrics") or {},
    )
