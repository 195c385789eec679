"""The tasks of the gold DAG, apart from its wiring.

Each finds its set by the run: the newest that the run wrote. Nothing but small summaries goes through XCom,
so a task can be cleared or retried alone, and always works on what Postgres holds now.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from airflow.sdk.exceptions import AirflowFailException

from medallion_contracts.errors import GoldError, StaleStaging
from medallion_contracts.loader import load_dataset
from medallion_ops.alerts.mail import task_link
from medallion_ops.alerts.sending import send
from medallion_ops.alerts.settings import AlertSettings
from medallion_ops.contracts.in_force import note_in_force, refuse_breaking_change
from medallion_ops.gate import episodes, mails
from medallion_ops.gate.decision import DECISION_MINUTES, exclusion_decided, options_for, was_asked
from medallion_ops.gate.row_rejection import reject_failing_rows
from medallion_ops.gate.verdict import Verdict, verdict_of_set
from medallion_ops.gold import publication
from medallion_ops.gold.audit_task import TaskReports
from medallion_ops.gold.links import dag_id, links_of_set
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.lake_settings import LakeSettings
from medallion_ops.migrations.runner import migrate
from medallion_ops.settings import Settings
from medallion_ops.streaming.stream_release import refuse_stream_of_other_release
from medallion_store.manifests import Manifest, manifest, manifest_of_run
from medallion_store.postgres import gold_connection
from medallion_store.publications import last_publication, publication_of_set

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)


class Run(Protocol):
    """A run of Airflow: when it was triggered, or due."""

    run_after: datetime


def migrate_gold(dataset: str) -> list[str]:
    """Migrate the gold database; returns what was done.

    Raises:
        ReleaseMismatch: the stream runs other contracts or code: its silver is not what would be checked.
        BreakingChange: the contracts change what readers rely on, and no one has accepted that.
    """
    refuse_stream_of_other_release(LakeSettings.from_environment(), dataset)
    dsn = GoldSettings.from_environment().dsn
    refuse_breaking_change(dsn, dataset)
    done = list(migrate(dsn, load_dataset(dataset)))
    note_in_force(dsn, dataset)
    return done


def has_pending_changes(dataset: str, params: Mapping[str, Any]) -> bool:
    """Whether there is anything to write, asked from Delta's log and Postgres, without a JVM.

    The gold database is brought forward before.
    """
    from medallion_ops.gold.pending_changes import next_write

    for done in migrate_gold(dataset):
        log.info("migrated: %s", done)
    if params["full"]:
        log.info("a full write was asked for")
        return True
    planned = next_write(Settings.from_environment(), load_dataset(dataset))
    log.info("%s: %s", planned.kind.value, planned.reason)
    return planned.kind.value != "nothing"


def branch_on_gate_result(
    dataset: str, run_id: str, params: Mapping[str, Any], *, passed: str, failed: str, blocked: str
) -> str:
    """The task that follows the audit, by its verdict.

    Args:
        dataset: The dataset.
        run_id: The run.
        params: Those of the run; `ask` asks about this run's set, whoever was asked before.
        passed: The task when the gate passed the set.
        failed: The task that asks a person.
        blocked: The task when it failed, and there is nothing (more) to ask.
    """
    with gold_connection(GoldSettings.from_environment().dsn) as connection:
        written, verdict = _set_of_run(connection, dataset, run_id)
        is_due = episodes.is_question_due(connection, dataset, verdict, written.base_publication_id, run_id)
    if verdict.passed:
        log.info("set %s passed", written.set_id)
        return passed
    log.info("set %s failed: %s", written.set_id, ", ".join(verdict.failed_critical))
    if len(options_for(verdict, load_dataset(dataset))) == 1:
        log.info("nothing can be chosen: a set with these failures cannot be stored")
        return blocked
    if not (is_due or params["ask"]):
        log.info("a person was asked about these failures before: a run with the parameter ask asks again")
        return blocked
    return failed


def notify(dataset: str, run_id: str) -> list[str]:
    """Mail what people do not know yet about failed expectations; gives the subjects of the mails."""
    settings, alerts = GoldSettings.from_environment(), AlertSettings.from_environment()
    with gold_connection(settings.dsn) as connection:
        written, verdict = _set_of_run(connection, dataset, run_id)
        last = last_publication(connection, dataset)
        base = last.publication_id if last else None
        # Of a set that was published meanwhile, people still have to know the warnings.
        kinds = (episodes.Kind.WARNED,) if publication_of_set(connection, written.set_id) else episodes.Kind
        noted = episodes.note_verdict(connection, dataset, verdict, base, kinds)
        due = [one for one in noted if one.is_mail_due]
    subject = mails.Subject(written, verdict, last)
    links = links_of_set(settings, alerts, written, verdict)
    blocked = next((one for one in due if one.kind is episodes.Kind.BLOCKED), None)
    sent = []
    if due:
        alert = (
            # It lists the warnings too.
            mails.blocked_alert(subject, blocked, DECISION_MINUTES, links)
            if blocked
            else mails.warned_alert(subject, links)
        )
        delivery = send(alert, alerts)
        sent.append(f"{alert.subject} ({delivery})")
        with gold_connection(settings.dsn) as connection:
            for episode in due:
                episodes.note_mail(connection, episode)
    log.info("mails sent: %s", sent or "none, people know already")
    return sent


def exclude_failing_rows(dataset: str, run_id: str) -> int:
    """Put the failing rows of the run's set on the list of rejected rows, as a person decided.

    Raises:
        AirflowFailException: Staging is not what the person saw (a crash of Postgres empties it), so its
            failing rows cannot be found any more: another run writes and asks again.
    """
    with gold_connection(GoldSettings.from_environment().dsn) as connection:
        decided = exclusion_decided(connection, dataset, run_id)
        try:
            publication.refuse_if_stale(
                connection, load_dataset(dataset), manifest(connection, decided.set_id)
            )
        except StaleStaging as stale:
            raise AirflowFailException(str(stale)) from stale
        verdict = verdict_of_set(connection, decided.set_id)
        if verdict is None:
            raise GoldError(f"the verdict on set {decided.set_id} is gone: clear the run to write again")
        count = reject_failing_rows(connection, load_dataset(dataset), verdict, decided.decided_by)
        episodes.forget_question(connection, dataset)
    log.info("%s rows of set %s are left out from now on, by %s", count, decided.set_id, decided.decided_by)
    return count


def keep_blocked(dataset: str, run_id: str) -> None:
    """End the run as failed: nothing was published.

    Raises:
        AirflowFailException: Always.
    """
    blocked = GoldError(f"gold of {dataset} stays as it is: run {run_id} was kept blocked; staging is kept")
    raise AirflowFailException(str(blocked)) from blocked


def publish(dataset: str, run_id: str) -> dict[str, Any]:
    """Publish the run's set; gives what changed."""
    settings = GoldSettings.from_environment()
    with gold_connection(settings.dsn) as connection:
        written, _ = _set_of_run(connection, dataset, run_id)
    try:
        outcome = publication.publish_set(settings.dsn, load_dataset(dataset), written.set_id)
    except StaleStaging as stale:
        # Publishing again cannot mend it; another run writes again from the last publication.
        raise AirflowFailException(str(stale)) from stale
    return asdict(outcome)


def is_stale(dataset: str, run_id: str) -> bool:
    """Whether the run wrote a set that only another write can replace: staging is lost, or gold moved on."""
    settings = GoldSettings.from_environment()
    with gold_connection(settings.dsn) as connection:
        written = manifest_of_run(connection, dataset, run_id)
    return written is not None and publication.is_stale(settings.dsn, load_dataset(dataset), written.set_id)


def run_asked(dataset: str, run_id: str) -> bool:
    """Whether a person was asked about a set of this run."""
    with gold_connection(GoldSettings.from_environment().dsn) as connection:
        return was_asked(connection, dataset, run_id)


def report(
    dataset: str, run_id: str, ti: TaskReports | None = None, dag_run: Run | None = None
) -> dict[str, Any]:
    """Log what the run did in numbers and what its time went into, and mail the end of a blocked episode.

    Args:
        dataset: The dataset.
        run_id: The run.
        ti: This task instance.
        dag_run: The run, as Airflow knows it.
    """
    settings, alerts = GoldSettings.from_environment(), AlertSettings.from_environment()
    with gold_connection(settings.dsn) as connection:
        written, verdict = _set_of_run(connection, dataset, run_id)
        published = publication_of_set(connection, written.set_id)
        blocked = episodes.open_episode(connection, dataset, episodes.Kind.BLOCKED)
    if published is None:
        raise GoldError(f"set {written.set_id} is not published")
    if blocked is not None:
        link = task_link(alerts, dag_id(dataset), run_id)
        send(mails.released_alert(dataset, published, {"Airflow run": link} if link else {}), alerts)
        with gold_connection(settings.dsn) as connection:
            episodes.close(connection, blocked)
    for table, rows in published.rows.items():
        log.info("%s: %s", table, ", ".join(f"{count:,} {what}" for what, count in rows.items()))
    if dag_run is not None:
        job = (ti.xcom_pull(task_ids="write") if ti else None) or {}
        log.info(
            "after the trigger: set complete %.1f s, published %.1f s; the job: %s",
            (written.created_at - dag_run.run_after).total_seconds(),
            (published.published_at - dag_run.run_after).total_seconds(),
            job.get("took", "see the log of write"),
        )
    return {
        "publication_id": published.publication_id,
        "decision": published.decision,
        "silver_version": published.to_version,
        "expectations": len(verdict.findings),
        "warnings": list(verdict.failed_warnings),
        "rows": published.rows,
    }


def set_of_run(dataset: str, run_id: str) -> tuple[Manifest, Verdict]:
    """The newest set that a run wrote, and the gate's verdict on it.

    Raises:
        GoldError: The run wrote none, or it was not checked.
    """
    with gold_connection(GoldSettings.from_environment().dsn) as connection:
        return _set_of_run(connection, dataset, run_id)


def _set_of_run(connection: psycopg.Connection, dataset: str, run_id: str) -> tuple[Manifest, Verdict]:
    written = manifest_of_run(connection, dataset, run_id)
    if written is None:
        raise GoldError(f"run {run_id} wrote no set of {dataset}: clear its task write")
    verdict = verdict_of_set(connection, written.set_id)
    if verdict is None:
        raise GoldError(f"set {written.set_id} of run {run_id} was not checked: clear the run's task audit")
    return written, verdict
