"""Publishes a set of staging tables: gold goes from one whole state to the next, in one transaction.

Crash points. Before the commit: Postgres rolls back, gold is the old state, the same call publishes again.
After the commit, before anybody heard of it: the publication row is there, the same call finds it and changes
nothing. Two calls at once: the second waits for the advisory lock, then finds the first one's publication.
Readers see the old state until the commit and are never locked out: only row locks are taken.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medallion_contracts.compile.postgres import (
    GOLD,
    LOOK_UP_STAGED,
    WHOLE_READ_ROWS,
    fingerprint_query,
    publication,
    quoted,
    staging_name,
)
from medallion_contracts.errors import GoldError, StaleStaging
from medallion_contracts.model import Dataset
from medallion_ops.gate.decision import Decision, approval_of_set, exclusion_behind_set
from medallion_ops.gate.verdict import Verdict, verdict_of_set
from medallion_store.code_version import code_version
from medallion_store.manifests import Manifest, manifest, sets_of_run
from medallion_store.postgres import gold_connection
from medallion_store.publications import (
    last_publication,
    lock_publication,
    publication_of_set,
    record_publication,
)
from medallion_store.refresh_plan import gold_contract_hash
from medallion_store.secret import Secret

if TYPE_CHECKING:
    import psycopg

_CODE = ("medallion_contracts", "medallion_store", "medallion_ops")
log = logging.getLogger(__name__)

ROOM_FOR_JOINS = "SET LOCAL work_mem = '128MB'"
"""Joins of a million rows stay in memory then: an update of all of them takes 7.5 s, not 11.7 s."""
PASSED = "passed"
EARLIER = "passed; rows rejected by an earlier decision of {who} about set {set_id} stay out"


@dataclass(frozen=True)
class Outcome:
    """What publishing a set did; `is_new` is false when it had been published before.

    `rows` counts inserted, updated, deleted and unchanged rows for each gold table.
    """

    publication_id: int
    set_id: int
    rows: Mapping[str, Mapping[str, int]]
    is_new: bool
    seconds: float

    @property
    def changed(self) -> int:
        """Rows of gold that this publication wrote or removed."""
        return sum(
            count for table in self.rows.values() for what, count in table.items() if what != "unchanged"
        )


def publish_set(dsn: Secret, dataset: Dataset, set_id: int) -> Outcome:
    """Make gold equal to a set's candidates and record the publication.

    Args:
        dsn: Login of the writer.
        dataset: The dataset the set belongs to.
        set_id: The set; the gate passed it, or a person's decision to publish it anyway is on record.

    Raises:
        StaleStaging: Gold moved on since the set was written, or staging no longer holds what its manifest
            says; gold is unchanged, the job must write again.
        GoldError: The set was never checked, or failed and nobody approved it; gold is unchanged.
        ServiceUnavailable: Postgres does not answer or broke the connection.
    """
    started = time.monotonic()
    with gold_connection(dsn) as connection:
        lock_publication(connection, dataset.name)
        before = publication_of_set(connection, set_id)
        if before is not None:
            log.info("set %s was published before, as publication %s", set_id, before.publication_id)
            return Outcome(before.publication_id, set_id, before.rows, False, time.monotonic() - started)
        written = manifest(connection, set_id)
        verdict = verdict_of_set(connection, set_id)
        decision = _decision(connection, written, verdict)
        refuse_if_stale(connection, dataset, written)
        connection.execute(ROOM_FOR_JOINS)
        if _touches_little(connection, dataset, written):
            connection.execute(LOOK_UP_STAGED)
        rows = {name: _apply(connection, dataset, name, written) for name in dataset.gold}
        if written.is_rebuild:
            # The next hour may come before autovacuum does, and would look versions up by time, not by key.
            for name in dataset.gold:
                connection.execute(f"ANALYZE {quoted(GOLD, name)}")
        publication_id = record_publication(
            connection,
            written,
            rows=rows,
            suite_hash=verdict.suite_hash if verdict else None,
            code_version=f"{written.code_version}+{code_version(*_CODE)}",
            **_recorded(connection, written, decision),
        )
    return Outcome(publication_id, set_id, rows, True, time.monotonic() - started)


def is_stale(dsn: Secret, dataset: Dataset, set_id: int) -> bool:
    """Whether only writing again helps: the set is not published, and `publish_set` would call it stale.

    Raises:
        ServiceUnavailable: Postgres does not answer or broke the connection.
    """
    with gold_connection(dsn) as connection:
        lock_publication(connection, dataset.name)
        if publication_of_set(connection, set_id) is not None:
            return False
        written = manifest(connection, set_id)
        try:
            refuse_if_stale(connection, dataset, written)
        except StaleStaging:
            return True
    return False


def _decision(connection: psycopg.Connection, written: Manifest, verdict: Verdict | None) -> Decision | None:
    """What a person decided about the set, None when the gate passed it unasked."""
    if verdict is None:
        raise GoldError(
            f"set {written.set_id} of {written.dataset} was never checked: "
            f"run `python -m medallion_ops.gate --set-id {written.set_id}` first"
        )
    if verdict.passed:
        return exclusion_behind_set(connection, written.set_id)
    decision = approval_of_set(connection, written.set_id)
    if decision is None:
        raise GoldError(
            f"set {written.set_id} of {written.dataset} failed the gate and nobody approved it: "
            f"{', '.join(verdict.failed_critical)}"
        )
    return decision


def _recorded(connection: psycopg.Connection, written: Manifest, decision: Decision | None) -> dict[str, Any]:
    """What the publication's row says of a decision: it belongs to the set and run it was asked about.

    A later run that leaves the same rows out publishes much that its person never saw.
    """
    if decision is None:
        return {"decision": PASSED, "decided_by": None, "decided_at": None}
    if decision.set_id in sets_of_run(connection, written.dataset, written.run_id):
        return {
            "decision": decision.option,
            "decided_by": decision.decided_by,
            "decided_at": decision.decided_at,
        }
    said = EARLIER.format(who=decision.decided_by or "someone", set_id=decision.set_id)
    return {"decision": said, "decided_by": None, "decided_at": None}


def refuse_if_stale(connection: psycopg.Connection, dataset: Dataset, written: Manifest) -> None:
    """Refuse a set that only another write can replace.

    Raises:
        StaleStaging: Gold or its contracts moved on since the set was written, or staging no longer holds
            what its manifest says.
    """
    _refuse_if_gold_moved_on(connection, written)
    if written.contract_hash != gold_contract_hash(dataset):
        raise StaleStaging(
            f"set {written.set_id} of {written.dataset} was written by other contracts than those of today: "
            "write again"
        )
    _refuse_if_staging_changed(connection, dataset, written)


def _refuse_if_gold_moved_on(connection: psycopg.Connection, written: Manifest) -> None:
    last = last_publication(connection, written.dataset)
    base = last.publication_id if last else None
    if base != written.base_publication_id:
        raise StaleStaging(
            f"set {written.set_id} of {written.dataset} was computed against publication "
            f"{written.base_publication_id or 'none'}, but the last one is {base or 'none'}: write again"
        )
    if last and not written.is_rebuild and last.to_version != written.from_version:
        raise StaleStaging(
            f"set {written.set_id} of {written.dataset} starts after silver version {written.from_version}, "
            f"but gold holds everything up to {last.to_version}: write again"
        )


def _refuse_if_staging_changed(connection: psycopg.Connection, dataset: Dataset, written: Manifest) -> None:
    """Staging is UNLOGGED: a crash of Postgres empties it, and an empty set must never be published."""
    for name in dict.fromkeys((*dataset.gold, *written.tables)):
        said = written.tables.get(name)
        query = fingerprint_query(staging_name(written.set_id, name))
        found = connection.execute(query).fetchone()
        if said is None or found is None or (said.rows, said.checksum) != (found[0], str(found[1])):
            raise StaleStaging(
                f"staging of {name}, set {written.set_id}, does not hold what its manifest says "
                f"({found[0] if found else 0:,} rows, written {said.rows if said else 0:,}): "
                "Postgres may have crashed since; write again"
            )


def _touches_little(connection: psycopg.Connection, dataset: Dataset, written: Manifest) -> bool:
    """Whether gold holds far more than was staged; without statistics the planner is not asked either."""
    if written.is_rebuild:
        return False
    staged = max(table.rows for table in written.tables.values())
    query = "SELECT max(reltuples) FROM pg_class WHERE relnamespace = %s::regnamespace AND relname = ANY(%s)"
    [rows] = connection.execute(query, [GOLD, list(dataset.gold)]).fetchone() or [None]
    return rows is None or rows <= 0 or staged * WHOLE_READ_ROWS < rows


def _apply(connection: psycopg.Connection, dataset: Dataset, name: str, written: Manifest) -> dict[str, int]:
    started = time.monotonic()
    steps = publication(dataset, dataset.gold[name], written.set_id, whole=written.is_rebuild)
    deleted = connection.execute(steps.delete).rowcount
    updated = connection.execute(steps.update).rowcount
    inserted = connection.execute(steps.insert).rowcount
    rows = {
        "inserted": inserted,
        "updated": updated,
        "deleted": deleted,
        "unchanged": written.tables[name].rows - updated - inserted,
    }
    log.info("%s: %s in %.1f s", name, rows, time.monotonic() - started)
    return rows
