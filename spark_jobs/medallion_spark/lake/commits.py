"""The commits of a lake table, read from its log one by one, the newest first.

delta-rs gives a history only as a whole: with a commit a minute that is a month of files. What is looked for
here lies near the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from deltalake import CommitProperties, Transaction
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem

from medallion_spark.lake.data_files import DataFile
from medallion_spark.lake.table_log import commit_file
from medallion_spark.session.lake_access import LakeAccess
from medallion_store.lake_login import delta_storage_options


@dataclass(frozen=True)
class Commit:
    """A version of a table that an append made, and how many rows it holds."""

    table: str
    version: int
    rows: int


@dataclass(frozen=True)
class TableCommit:
    """One version of a table: when (UTC) and by whom (`label`) it was made, the rows it wrote, its new files.

    `added` has for each file its path and the values of its partition, as the log has them, `added_rows` is
    how many rows they hold; `info` is all that the log says about the commit.
    """

    version: int
    at: datetime
    label: str
    rows: int
    added: tuple[tuple[str, Mapping[str, str | None]], ...]
    info: Mapping[str, Any] = field(default_factory=dict)
    added_rows: int = 0


def commit_properties(
    files: Sequence[DataFile], transaction: Transaction, label: str, notes: Mapping[str, str]
) -> CommitProperties:
    """What a commit of the files says of itself, as Spark's own commits do in the table's history.

    Args:
        files: that are added.
        transaction: of the app whose batch it is.
        label: of the attempt.
        notes: kept beside it.
    """
    return CommitProperties(
        custom_metadata={
            **notes,
            "userMetadata": label,
            "operationMetrics": {
                "numFiles": str(len(files)),
                "numOutputRows": str(sum(f.rows for f in files)),
                "numOutputBytes": str(sum(f.bytes for f in files)),
            },
        },
        app_transactions=[transaction],
    )


def newest_commits(uri: str, access: LakeAccess, version: int) -> Iterator[TableCommit]:
    """The commits from `version` backwards, as far as the log still has each.

    Args:
        uri: of the table.
        access: to the lake.
        version: the newest to read.
    """
    folder = PyFileSystem(DeltaStorageHandler(uri, delta_storage_options(access.login)))
    while version >= 0:
        try:
            with folder.open_input_file(commit_file(version)) as content:
                lines = content.readall().splitlines()
        except FileNotFoundError:
            return
        yield _commit(version, list(_whole_actions(lines)))
        version -= 1


def _whole_actions(lines: Sequence[bytes]) -> Iterator[Mapping[str, Any]]:
    """What a commit file says; of one that is cut short, up to there (`TableLog` refuses it)."""
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            return


def _commit(version: int, actions: list[Mapping[str, Any]]) -> TableCommit:
    info: Mapping[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    added = [action["add"] for action in actions if "add" in action]
    return TableCommit(
        version,
        datetime.fromtimestamp((info.get("timestamp") or 0) / 1000, UTC),
        str(info.get("userMetadata") or ""),
        int((info.get("operationMetrics") or {}).get("numOutputRows") or 0),
        tuple((unquote(add["path"]), add.get("partitionValues") or {}) for add in added),
        info,
        sum(int(json.loads(add.get("stats") or "{}").get("numRecords") or 0) for add in added),
    )
