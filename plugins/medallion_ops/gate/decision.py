"""What a person decides about a set that the gate held back.

A question belongs to one set and is asked by one task instance. The answer counts only while that set is the
newest and still fits gold; the publication reads it here, nothing is passed along in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from medallion_contracts.compile.great_expectations import storage_checks
from medallion_contracts.errors import GoldError
from medallion_contracts.model import Dataset
from medallion_ops.gate.verdict import Verdict
from medallion_store.manifests import find_manifest, manifest, newest_set, sets_of_run
from medallion_store.publications import last_publication, set_of_publication
from medallion_store.rejected_rows import sets_that_rejected

if TYPE_CHECKING:
    import psycopg

DECISION_MINUTES = 45
"""How long a person may answer the gate's question."""


class Option(StrEnum):
    """The ways out of a failed gate, as the Airflow UI shows them."""

    KEEP_BLOCKED = "keep blocked"
    WITHOUT_FAILING_ROWS = "publish without the failing rows"
    ANYWAY = "publish anyway"


@dataclass(frozen=True)
class Decision:
    """An answer: `refused` says why it does not count; then gold stays as it is."""

    set_id: int
    option: Option
    decided_by: str | None
    decided_at: datetime
    refused: str | None = None

    @property
    def option_in_force(self) -> Option:
        """What is to be done."""
        return Option.KEEP_BLOCKED if self.refused else self.option


def options_for(verdict: Verdict, dataset: Dataset) -> tuple[Option, ...]:
    """The options a person has about a set.

    Rows can be left out only where every critical failure is about rows, and a set can be published as it is
    only where gold can store it: not with a key twice, or without a value that gold requires.
    """
    storable = storage_checks(dataset).isdisjoint(verdict.failed_critical)
    return (
        Option.KEEP_BLOCKED,
        *([Option.WITHOUT_FAILING_ROWS] if verdict.can_leave_rows_out else []),
        *([Option.ANYWAY] if storable else []),
    )


@dataclass(frozen=True)
class Question:
    """The last question about a set; `decision` is None while no answer is known here."""

    decision: Decision | None


def question_about(connection: psycopg.Connection, set_id: int) -> Question | None:
    """The last question about a set, None when its run has not asked.

    Raises:
        GoldError: The run has asked about another set before. Airflow keeps showing a run's first question,
            so an answer would be about what its person did not see.
    """
    written = manifest(connection, set_id)
    asked = connection.execute(
        "SELECT set_id, answer, answered_by, answered_at, refused FROM audit.decisions "
        "WHERE set_id = ANY(%s) ORDER BY decision_id DESC LIMIT 1",
        [sets_of_run(connection, written.dataset, written.run_id)],
    ).fetchone()
    if asked is None:
        return None
    shown, chosen, by, at, refused = asked
    if shown != set_id:
        raise GoldError(
            f"run {written.run_id} asked about set {shown} before, and Airflow would show that question "
            f"again for set {set_id}: the next run asks, or trigger one (airflow dags trigger "
            f"{written.dataset}_gold)"
        )
    return Question(None if chosen is None else Decision(shown, _known(chosen), by, at, refused))


def waits_since(connection: psycopg.Connection, dataset: str, now: datetime) -> datetime | None:
    """When the question was asked that a person can still answer; None when there is none.

    Args:
        connection: to gold, as the writer.
        dataset: its name.
        now: UTC.
    """
    row = connection.execute(
        "SELECT max(d.asked_at) FROM audit.decisions AS d JOIN staging.manifests AS m USING (set_id) "
        "WHERE m.dataset = %s AND d.answered_at IS NULL AND d.asked_at > %s - interval '1 minute' * %s",
        [dataset, now, DECISION_MINUTES],
    ).fetchone()
    return row[0] if row else None


def was_asked(connection: psycopg.Connection, dataset: str, run_id: str) -> bool:
    """Whether a run has asked a person about one of its sets."""
    row = connection.execute(
        "SELECT 1 FROM audit.decisions AS d JOIN staging.manifests AS m USING (set_id) "
        "WHERE m.dataset = %s AND m.run_id = %s LIMIT 1",
        [dataset, run_id],
    ).fetchone()
    return row is not None


def _known(chosen: str) -> Option:
    return Option(chosen) if chosen in set(Option) else Option.KEEP_BLOCKED


def ask(connection: psycopg.Connection, set_id: int, task: str, options: Iterable[str]) -> None:
    """Remember which set a task instance shows to people; asking again for the same task changes nothing."""
    connection.execute(
        "INSERT INTO audit.decisions (set_id, asked_by_task, options) VALUES (%s, %s, %s) "
        "ON CONFLICT (asked_by_task) DO NOTHING",
        [set_id, task, list(options)],
    )


def answer(
    connection: psycopg.Connection, task: str, chosen: str, decided_by: str | None, decided_at: datetime
) -> Decision:
    """Record the answer to the question that a task instance asked.

    Raises:
        GoldError: That task never asked.
    """
    question = connection.execute(
        "SELECT set_id, options FROM audit.decisions WHERE asked_by_task = %s FOR UPDATE", [task]
    ).fetchone()
    if question is None:
        raise GoldError(f"nothing is known of a question asked by task {task}: clear the task to ask again")
    set_id, options = question
    refused = (
        None
        if chosen == Option.KEEP_BLOCKED
        else f"{chosen!r} was not among the options"
        if chosen not in options
        else _why_outdated(connection, set_id)
    )
    connection.execute(
        "UPDATE audit.decisions SET answer = %s, answered_by = %s, answered_at = %s, refused = %s "
        "WHERE asked_by_task = %s",
        [chosen, decided_by, decided_at, refused, task],
    )
    return Decision(set_id, _known(chosen), decided_by, decided_at, refused)


def _why_outdated(connection: psycopg.Connection, set_id: int) -> str | None:
    shown = manifest(connection, set_id)
    newest = newest_set(connection, shown.dataset)
    if newest != set_id:
        return f"the answer is about set {set_id}, but set {newest} has been written since"
    last = last_publication(connection, shown.dataset)
    if (last.publication_id if last else None) != shown.base_publication_id:
        return f"gold has been published since set {set_id} was written"
    return None


def approval_of_set(connection: psycopg.Connection, set_id: int) -> Decision | None:
    """The decision that lets a set be published although the gate failed it, None when there is none.

    Only the last answer counts, and only to a question that was asked after the gate's last look at the set.
    """
    row = connection.execute(
        "SELECT answer, refused, answered_by, answered_at FROM audit.decisions AS d "
        "WHERE set_id = %s AND answer IS NOT NULL AND asked_at >= "
        "(SELECT max(checked_at) FROM audit.gate_results AS g WHERE g.set_id = d.set_id) "
        "ORDER BY decision_id DESC LIMIT 1",
        [set_id],
    ).fetchone()
    if row is None:
        return None
    decision = Decision(set_id, _known(row[0]), row[2], row[3], row[1])
    return decision if decision.option_in_force is Option.ANYWAY else None


def exclusion_behind_set(connection: psycopg.Connection, set_id: int) -> Decision | None:
    """The decision by which a set leaves rows out that the last publication did not, whichever run wrote it.

    None when it leaves out none that were decided on since.
    """
    written = manifest(connection, set_id)
    base = written.base_publication_id
    published = set_of_publication(connection, base) if base is not None else None
    before = find_manifest(connection, published) if published is not None else None
    known = before.excluded if before else frozenset()
    row = connection.execute(
        "SELECT set_id, answered_by, answered_at FROM audit.decisions "
        "WHERE set_id = ANY(%s) AND answer = %s AND refused IS NULL ORDER BY answered_at DESC LIMIT 1",
        [sets_that_rejected(connection, written.excluded - known), Option.WITHOUT_FAILING_ROWS.value],
    ).fetchone()
    return Decision(row[0], Option.WITHOUT_FAILING_ROWS, row[1], row[2]) if row else None


def exclusion_decided(connection: psycopg.Connection, dataset: str, run_id: str) -> Decision:
    """The decision to publish a run's set without its failing rows.

    Raises:
        GoldError: Nobody decided so.
    """
    row = connection.execute(
        "SELECT set_id, answer, answered_by, answered_at, refused FROM audit.decisions "
        "WHERE set_id = ANY(%s) AND answer IS NOT NULL ORDER BY decision_id DESC LIMIT 1",
        [sets_of_run(connection, dataset, run_id)],
    ).fetchone()
    decision = Decision(row[0], _known(row[1]), *row[2:]) if row else None
    if decision is None or decision.option_in_force is not Option.WITHOUT_FAILING_ROWS:
        raise GoldError(f"nobody decided to leave rows of run {run_id} out: clear its task decide to ask")
    return decision
