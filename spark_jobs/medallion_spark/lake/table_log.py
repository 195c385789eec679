"""A table's log, kept open and followed: to look again costs the same, however long the log is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta

import pyarrow as pa
from deltalake import DeltaTable, PostCommitHookProperties
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileType, PyFileSystem

from medallion_store.lake_reading import refuse_cut_commit

LIST_AGAIN_SECONDS = 3600
"""After so long the log is listed, whatever its next commit: log cleanup could have removed that one."""

WITHOUT_CLEANUP = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
"""For commits of the stream: otherwise each lists all of the log, which maintenance cleans up once a day."""


COMMITS_KEPT = timedelta(days=7)
"""How long a table's single commits stay readable: a folder's log is listed at each commit, one a minute."""


def log_kept(duration: timedelta) -> dict[str, str]:
    """The table properties that let maintenance alone remove commits that are older, in whole days.

    What makes a checkpoint would otherwise clean up too (delta-rs's OPTIMIZE whatever it is told, and Spark),
    and with that the commit that gold goes on from.
    """
    return {
        "delta.logRetentionDuration": f"interval {duration.days} days",
        "delta.enableExpiredLogCleanup": "false",
    }


def set_properties(log: DeltaTable, wanted: Mapping[str, str]) -> bool:
    """Bring a table of an earlier version forward; False when it has these properties."""
    missing = {
        name: value for name, value in wanted.items() if log.metadata().configuration.get(name) != value
    }
    if missing:
        log.alter.set_table_properties(missing, post_commithook_properties=WITHOUT_CLEANUP)
    return bool(missing)


def commit_file(version: int) -> str:
    """The file of a version's commit, in the table's folder."""
    return f"_delta_log/{version:020d}.json"


class TableLog:
    """The log of one table.

    Args:
        uri: of the table.
        storage: how to log in to the lake, for delta-rs.
    """

    def __init__(self, uri: str, storage: Mapping[str, str]) -> None:
        self._uri = uri
        self._storage = dict(storage)
        self._table: DeltaTable | None = None
        self._listed = 0.0
        self._folder: PyFileSystem | None = None

    def current(self) -> DeltaTable:
        """The table as it is now; always the same object, until it is `reopen`ed.

        Raises:
            DamagedLog: a commit file is cut short.
            TableNotFoundError: there is none.
        """
        try:
            return self._current()
        except TableNotFoundError:
            raise
        except DeltaError:
            refuse_cut_commit(self._uri, self._storage)
            raise

    def _current(self) -> DeltaTable:
        if self._table is None:
            self._table = DeltaTable(self._uri, storage_options=self._storage)
            self._listed = time.monotonic()
        elif self._has_news(self._table.version()):
            self._table.update_incremental()
            self._listed = time.monotonic()
        return self._table

    def exists(self) -> bool:
        """Whether there is such a table; its log is not read."""
        return bool(DeltaTable.is_deltatable(self._uri, self._storage))

    def ensure(self, schema: pa.Schema, properties: Mapping[str, str]) -> None:
        """Create the table unless it is there, and bring its properties forward.

        Args:
            schema: of a new table.
            properties: that it is to have.
        """
        if not self.exists():
            DeltaTable.create(
                self._uri,
                schema=schema,
                mode="ignore",
                configuration=dict(properties),
                storage_options=self._storage,
            )
        if set_properties(self.current(), properties):
            self.reopen()

    def reopen(self) -> None:
        """Read the log from its last checkpoint when it is asked for next."""
        self._table = None

    def _has_news(self, version: int) -> bool:
        """Whether there may be a newer version; versions have no holes."""
        if time.monotonic() - self._listed > LIST_AGAIN_SECONDS:
            return True
        if self._folder is None:
            self._folder = PyFileSystem(DeltaStorageHandler(self._uri, self._storage))
        [following] = self._folder.get_file_info([commit_file(version + 1)])
        return bool(following.type != FileType.NotFound)
