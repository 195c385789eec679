"""What the next gold run has to do, decided from the history of silver and the last publication.

Two askers share this rule: the gold job before it reads anything, and Airflow, which asks through the Delta
log alone and submits no job when the answer is `NONE`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from medallion_contracts.model import Dataset

_ADDS_ROWS = {
    "WRITE",
    "STREAMING UPDATE",
    "CREATE TABLE",
    "CREATE TABLE AS SELECT",
}
_KEEPS_ROWS = {
    "OPTIMIZE",
    "VACUUM START",
    "VACUUM END",
    "SET TBLPROPERTIES",
    "UNSET TBLPROPERTIES",
    "ADD COLUMNS",  # as Spark says it
    "ADD COLUMN",  # as delta-rs does
    "CHANGE COLUMN",
    "CHANGE COLUMNS",
    "UPDATE FIELD METADATA",
    "UPDATE TABLE METADATA",
    "ADD CONSTRAINT",
    "DROP CONSTRAINT",
    "ADD FEATURE",
    "UPGRADE PROTOCOL",
    "COMPUTE STATS",
}


class RefreshKind(StrEnum):
    """How much of silver a gold run reads."""

    NONE = "nothing"
    INCREMENT = "increment"
    FULL = "rebuild"


@dataclass(frozen=True)
class Commit:
    """One version of silver, as Delta's history tells it.

    `rows` is the number of rows it wrote, None when the history does not say.
    """

    version: int
    operation: str
    mode: str | None
    rows: int | None

    @classmethod
    def from_history(
        cls, version: int, operation: str, parameters: Mapping[str, object], metrics: Mapping[str, object]
    ) -> Commit:
        """From an entry of Delta's history, as Spark or delta-rs spells it."""
        mode = parameters.get("mode") or parameters.get("outputMode")
        written = metrics.get("numOutputRows", metrics.get("num_added_rows"))
        return cls(
            version,
            operation,
            None if mode is None else str(mode),
            None if written is None else int(str(written)),
        )

    @property
    def keeps_earlier_rows(self) -> bool:
        """Whether all rows of the version before are still there, as they were."""
        if self.operation in _KEEPS_ROWS:
            return True
        return self.operation in _ADDS_ROWS and (self.mode or "Append").lower() in ("append", "errorifexists")

    @property
    def adds_rows(self) -> bool:
        """Whether there may be new rows. An empty append fences a writer or evolves the schema."""
        return self.operation in _ADDS_ROWS - {"CREATE TABLE"} and self.rows != 0


@dataclass(frozen=True)
class Published:
    """What the last publication was made of.

    `excluded` are the ids of the rejected rows it left out, `labels` the fingerprint of the enrichment
    labels it used, `refresh_due` says why all of gold must be computed whatever is new, `commit_id` is the
    identity of silver's commit `to_version` (None where it was not kept yet).
    """

    publication_id: int
    silver_table_id: str
    to_version: int
    contract_hash: str
    excluded: frozenset[int] = frozenset()
    labels: str | None = None
    refresh_due: str | None = None
    commit_id: str | None = None


@dataclass(frozen=True)
class LabelSnapshot:
    """The enrichment labels that gold keeps: their fingerprint, and the source's state when last read.

    `source_version` is recorded for a broken source too, so that it is not read every hour.
    """

    fingerprint: str | None = None
    source_version: str | None = None


@dataclass(frozen=True)
class SilverState:
    """Silver now: its identity, its newest version, and its commits after the published one.

    `commit_id` is the identity of the newest commit, `published_commit_id` that of the commit which has the
    published version's number now; None where the log no longer holds it.
    """

    table_id: str
    version: int
    commits: tuple[Commit, ...]
    commit_id: str | None = None
    published_commit_id: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the whole history is known and nothing in it wrote a row."""
        return len(self.commits) == self.version + 1 and not any(c.adds_rows for c in self.commits)


@dataclass(frozen=True)
class Plan:
    """The answer: silver versions after `from_version` up to `to_version`, and why.

    `commit_id` is the identity of silver's commit `to_version`, `rows` the number of silver's rows to read,
    None where its log does not tell.
    """

    kind: RefreshKind
    from_version: int | None
    to_version: int
    reason: str
    commit_id: str | None = None
    rows: int | None = None


def plan(
    published: Published | None,
    silver: SilverState,
    contract_hash: str,
    *,
    excluded: Iterable[int] = (),
    labels: LabelSnapshot | None = None,
    source_version: str | None = None,
) -> Plan:
    """What the next gold run has to do.

    The history of silver must go back to the last published version, or to its beginning before the first
    publication; versions it does not hold count as lost.

    Args:
        published: the last publication, None before the first.
        silver: the state of silver now.
        contract_hash: `gold_contract_hash` of today's contracts.
        excluded: ids of the rejected rows in force now.
        labels: the enrichment labels kept in gold, None when there are none.
        source_version: state of the enrichment source now; None when it cannot be asked cheaply.
    """
    kind, reason = _kind(
        published, silver, contract_hash, frozenset(excluded), labels or LabelSnapshot(), source_version
    )
    last = published.to_version if published else None
    rows = _rows(silver.commits, None if kind is RefreshKind.FULL else last, silver.version)
    if published is not None and labels is not None and source_version != labels.source_version:
        rows = None  # customers with other labels come to them
    return Plan(kind, last, silver.version, reason, silver.commit_id, rows)


def _rows(commits: Iterable[Commit], after: int | None, to: int) -> int | None:
    """Rows that the versions after one (None: all) up to another wrote; None where one does not tell."""
    wanted = range(0 if after is None else after + 1, to + 1)
    known = {commit.version: commit for commit in commits}
    if any(version not in known or not known[version].keeps_earlier_rows for version in wanted):
        return None
    written = [known[version].rows for version in wanted if known[version].adds_rows]
    return None if None in written else sum(filter(None, written))


def _kind(
    published: Published | None,
    silver: SilverState,
    contract_hash: str,
    excluded: frozenset[int],
    labels: LabelSnapshot,
    source_version: str | None,
) -> tuple[RefreshKind, str]:
    if published is None:
        if silver.is_empty:
            return RefreshKind.NONE, "silver has no rows yet"
        return RefreshKind.FULL, "nothing has been published yet"
    last, now = published.to_version, silver.version
    reason = _rebuild_reason(published, silver, contract_hash)
    if reason is not None:
        return RefreshKind.FULL, reason
    if any(commit.adds_rows for commit in silver.commits if last < commit.version <= now):
        return RefreshKind.INCREMENT, f"silver versions {last + 1} to {now} are not published"
    if excluded != published.excluded:
        return RefreshKind.INCREMENT, "rows were rejected or released"
    if labels.fingerprint != published.labels or (
        source_version is not None and source_version != labels.source_version
    ):
        return RefreshKind.INCREMENT, "the enrichment source changed"
    return RefreshKind.NONE, f"silver has no new rows after version {last}"


def _rebuild_reason(published: Published, silver: SilverState, contract_hash: str) -> str | None:
    last, now = published.to_version, silver.version
    if published.contract_hash and contract_hash != published.contract_hash:
        # Before what migrations found empty: a column that a contract adds was not lost.
        return "the contracts of gold changed"
    if published.refresh_due is not None:
        return published.refresh_due
    if silver.table_id != published.silver_table_id:
        return "silver is another table than the one published from"
    if now < last:
        return f"silver is at version {now}, before the published version {last}"
    if published.commit_id is not None and silver.published_commit_id != published.commit_id:
        if silver.published_commit_id is None:
            return f"the log of silver no longer holds the published version {last}"
        return f"version {last} of silver is another commit than the one published from: silver was restored"
    known = {commit.version: commit for commit in silver.commits}
    gone = [version for version in range(last + 1, now + 1) if version not in known]
    if gone:
        return f"the history of silver no longer holds versions {gone[0]} to {gone[-1]}"
    for version in range(last + 1, now + 1):
        commit = known[version]
        if not commit.keeps_earlier_rows:
            mode = f" ({commit.mode})" if commit.mode else ""
            return f"silver was rewritten by {commit.operation}{mode} in version {version}"
    return None


def gold_contract_hash(dataset: Dataset) -> str:
    """Changes with whatever gold's rows are computed from or checked by: then all of gold is made again.

    What is only said of it (descriptions, classifications, service levels) is left out.
    """
    tables = [dataset.events, dataset.silver, *(dataset.gold[name] for name in sorted(dataset.gold))]
    said = [
        [
            table.name,
            table.primary_key,
            table.partitioned_by,
            [asdict(replace(column, description="", classification=None)) for column in table.columns],
            [[rule.expectation, rule.severity, rule.arguments] for rule in table.rules],
        ]
        for table in tables
    ]
    return hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()
