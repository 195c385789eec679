"""Reads Delta's log without Spark, in a second: what silver is now.

The gold job and Airflow both ask here, so that they decide alike. What has been published is known by the
content of its commit in the log: a version number alone is given again when a table is restored from a backup
and grows on. Where that commit is still there, only the commits after it are read, so that the question costs
what came since, however old and large the table is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medallion_contracts.errors import ServiceUnavailable
from medallion_store.refresh_plan import Commit, Published, SilverState

if TYPE_CHECKING:
    from deltalake.fs import DeltaStorageHandler

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
        ServiceUnavailable: the lake does not answer.
    """
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        if published is not None and published.commit_id is not None:
            state = _since_published(_Log(path, storage_options), published)
            if state is not None:
                return state
        return _whole_state(path, storage_options, published)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ServiceUnavailable(
            f"silver at {path} cannot be read ({reason}): check that the lake answers and MEDALLION_LAKE_URI"
        ) from error


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
    while (content := log.commit(version + 1)) is not None:
        entry = _commit_info(content)
        if entry is None:  # half-written by a power cut, or by a writer that tells nothing
            return None
        version, newest = version + 1, _identity(content)
        commits.append(_commit(version, entry))
    return SilverState(published.silver_table_id, version, tuple(commits), newest, found)


def _whole_state(path: str, storage_options: Mapping[str, str], published: Published | None) -> SilverState:
    from deltalake import DeltaTable

    table = DeltaTable(path, storage_options=dict(storage_options))
    version, log = table.version(), _Log(path, storage_options)
    missing = _FIRST_LOOK if published is None else version - published.to_version
    return SilverState(
        table_id=str(table.metadata().id),
        version=version,
        commits=tuple(
            _commit(entry["version"], entry) for entry in (table.history(missing) if missing > 0 else [])
        ),
        commit_id=log.commit_id(version),
        published_commit_id=log.commit_id(published.to_version) if published else None,
    )


def _commit_info(content: bytes) -> dict[str, Any] | None:
    for line in content.splitlines():
        if line.startswith(b'{"commitInfo"'):
            info = json.loads(line)["commitInfo"]
            return info if isinstance(info, dict) else None
    return None


def _commit(version: int, entry: Mapping[str, Any]) -> Commit:
    return Commit.from_history(
        version,
        entry.get("operation", ""),
        entry.get("operationParameters") or {},
        entry.get("operationMetrics") or {},
    )
