"""What a run of the rebuild has committed already, by the transaction id that each of its commits carries.

A transaction id stays in the table for good; the history that names its version is looked through only when
there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from medallion_contracts.errors import StreamError
from medallion_spark.lake.tables import LakeTable

_DATA_COMMITS = ("WRITE", "MERGE", "UPDATE", "DELETE")
_MOST_COMMITS = 5000
"""So far back a run looks for its commits: a run that is tried again finds them among the newest."""


@dataclass(frozen=True)
class OwnCommits:
    """The commits of one run in one table.

    `before` is the version that the run found, -1 where there was no table; `tries` counts its commits;
    `is_newest`: no other job has written rows since.
    """

    before: int
    tries: int = 0
    is_newest: bool = True


def transaction_id(run: str, table: LakeTable) -> str:
    """The application id of the run's commits to the table."""
    return f"{run}:{table.name}"


def own_commits(table: LakeTable, run: str) -> OwnCommits:
    """What the run has done to the table, by whichever try of it.

    Raises:
        StreamError: it was so long ago that the history no longer shows what was before.
    """
    if not table.exists():
        return OwnCommits(before=-1)
    log = table.log()
    last = log.transaction_version(transaction_id(run, table))
    if last is None:
        return OwnCommits(before=table.version())
    own: list[int] = []
    is_newest = True
    for commit in islice(table.newest_commits(), _MOST_COMMITS):
        if commit.label == run:
            own.append(commit.version)
            if len(own) > last:
                return OwnCommits(commit.version - 1, len(own), is_newest)
        elif not own and commit.info.get("operation") in _DATA_COMMITS:
            is_newest = False
    raise StreamError(
        f"{table.path} was rebuilt by this run long ago and nothing was changed now: "
        "trigger a new run of the rebuild"
    )
