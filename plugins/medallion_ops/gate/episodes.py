"""Which mails are due about the gate: one when trouble starts, one when it changes, one when it is over.

A blocked episode lasts from the first set that fails critical expectations to the next publication; its
subject is (last publication, set of failed critical expectations). A warned episode is the same for warnings,
and ends silently. A person is asked once for each subject, by the first run.

Crash points: what a mail told is recorded after it was sent, so a crash in between sends
the same mail once more, and none is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from medallion_ops.gate.verdict import Verdict

if TYPE_CHECKING:
    import psycopg


class Kind(StrEnum):
    """What an episode is about."""

    BLOCKED = "blocked"
    WARNED = "warned"


@dataclass(frozen=True)
class Episode:
    """An open episode. `mailed` is what the last mail told, None before the first."""

    episode_id: int
    kind: Kind
    failed: tuple[str, ...]
    mailed: tuple[str, ...] | None

    @property
    def is_mail_due(self) -> bool:
        """Whether people do not yet know what the episode is about now."""
        return self.mailed != self.failed

    @property
    def is_new(self) -> bool:
        """Whether no mail has told of it yet."""
        return self.mailed is None


def note_verdict(
    connection: psycopg.Connection,
    dataset: str,
    verdict: Verdict,
    base_publication_id: int | None,
    kinds: Iterable[Kind] = tuple(Kind),
) -> list[Episode]:
    """Open, change or end episodes of these kinds by a verdict; gives those that are open.

    A blocked episode is ended by a publication, not by a verdict: see `close`. Where that end was not noted
    (its mail failed), a block on top of another publication is news all the same.
    """
    every = {Kind.BLOCKED: verdict.failed_critical, Kind.WARNED: verdict.failed_warnings}
    failed = {kind: every[kind] for kind in kinds}
    for kind, labels in failed.items():
        if labels:
            connection.execute(
                "INSERT INTO audit.gate_episodes AS e (dataset, kind, base_publication_id, failed, set_id) "
                "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (dataset, kind) WHERE closed_at IS NULL "
                "DO UPDATE SET base_publication_id = EXCLUDED.base_publication_id, set_id = EXCLUDED.set_id, "
                "failed = EXCLUDED.failed, changed_at = CASE WHEN e.failed = EXCLUDED.failed "
                "THEN e.changed_at ELSE clock_timestamp() END, mailed = CASE WHEN e.kind = 'blocked' "
                "AND e.base_publication_id IS DISTINCT FROM EXCLUDED.base_publication_id "
                "THEN NULL ELSE e.mailed END",
                [dataset, kind, base_publication_id, list(labels), verdict.set_id],
            )
        elif kind is Kind.WARNED:
            connection.execute(
                "UPDATE audit.gate_episodes SET closed_at = clock_timestamp() "
                "WHERE dataset = %s AND kind = %s AND closed_at IS NULL",
                [dataset, kind],
            )
    return [
        episode
        for kind in failed
        if failed[kind] and (episode := open_episode(connection, dataset, kind)) is not None
    ]


def open_episode(connection: psycopg.Connection, dataset: str, kind: Kind) -> Episode | None:
    """The open episode of a kind, None when there is none."""
    row = connection.execute(
        "SELECT episode_id, failed, mailed FROM audit.gate_episodes "
        "WHERE dataset = %s AND kind = %s AND closed_at IS NULL",
        [dataset, kind],
    ).fetchone()
    if row is None:
        return None
    return Episode(row[0], kind, tuple(row[1]), None if row[2] is None else tuple(row[2]))


def is_question_due(
    connection: psycopg.Connection,
    dataset: str,
    verdict: Verdict,
    base_publication_id: int | None,
    run_id: str,
) -> bool:
    """Whether a run has to ask a person about its blocked set: the first one with these failures does.

    Later runs of the episode do not ask again; the run that asked does, when its task is tried again.
    """
    row = connection.execute(
        "SELECT 1 FROM audit.gate_episodes WHERE dataset = %s AND kind = %s AND closed_at IS NULL "
        "AND asked = %s AND asked_base IS NOT DISTINCT FROM %s AND asked_run <> %s",
        [dataset, Kind.BLOCKED, list(verdict.failed_critical), base_publication_id, run_id],
    ).fetchone()
    return row is None


def note_question(
    connection: psycopg.Connection,
    dataset: str,
    verdict: Verdict,
    base_publication_id: int | None,
    run_id: str,
) -> None:
    """A person sees the question about the blocked set of this run."""
    note_verdict(connection, dataset, verdict, base_publication_id, (Kind.BLOCKED,))
    connection.execute(
        "UPDATE audit.gate_episodes SET asked = %s, asked_base = %s, asked_run = %s "
        "WHERE dataset = %s AND kind = %s AND closed_at IS NULL",
        [list(verdict.failed_critical), base_publication_id, run_id, dataset, Kind.BLOCKED],
    )


def forget_question(connection: psycopg.Connection, dataset: str) -> None:
    """What was asked no longer stands (rows were left out since): the next blocked run asks again."""
    connection.execute(
        "UPDATE audit.gate_episodes SET asked = NULL WHERE dataset = %s AND kind = %s AND closed_at IS NULL",
        [dataset, Kind.BLOCKED],
    )


def note_mail(connection: psycopg.Connection, episode: Episode) -> None:
    """People have been told what the episode is about."""
    connection.execute(
        "UPDATE audit.gate_episodes SET mailed = %s WHERE episode_id = %s",
        [list(episode.failed), episode.episode_id],
    )


def close(connection: psycopg.Connection, episode: Episode) -> None:
    """The episode is over, and whoever knew of it has been told."""
    connection.execute(
        "UPDATE audit.gate_episodes SET closed_at = clock_timestamp() WHERE episode_id = %s",
        [episode.episode_id],
    )
