"""Which commits of the lake's tables the ledger knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from medallion_spark.stream.ledger import Ledger

_ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class CommittedTable:
    """What a batch wrote of a table, as its ledger row says."""

    query_id: str
    batch_id: int
    committed_at: datetime
    sequence: int
    version: int
    rows: int


def newest_commits(ledger: Ledger) -> dict[str, CommittedTable]:
    """The newest commit of each table of the lake, by the table's name."""
    found: dict[str, CommittedTable] = {}
    for one, table in _commits_from_newest(ledger):
        found.setdefault(table, one)
        if len(found) == len(_TABLES):
            break
    return found


_TABLES = ("bronze", "silver", "quarantine")


def newest_commit_up_to(ledger: Ledger, table: str, version: int) -> CommittedTable | None:
    """The newest commit of a table that it had at a version; None when the ledger knows none."""
    commits = (one for one, name in _commits_from_newest(ledger) if name == table)
    return next((one for one in commits if one.version <= version), None)


def _commits_from_newest(ledger: Ledger) -> Iterator[tuple[CommittedTable, str]]:
    columns = ["query_id", "batch_id", "committed_at", "sequence", "commits"]
    end = ledger.carried().sequence
    while end > 0:
        start = max(0, end - _ROWS_AT_ONCE)
        for row in ledger.rows(columns, start, end):
            commits = row.pop("commits") or []
            # A batch may write quarantine twice.
            for commit in sorted(commits, key=lambda one: int(one["version"]), reverse=True):
                yield CommittedTable(**row, version=commit["version"], rows=commit["rows"]), commit["table"]
        end = start
