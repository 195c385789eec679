"""From an observation to the problems in it: pure functions of what was seen and now."""

from __future__ import annotations

from collections.abc import Iterator

from medallion_ops.alerts.alert import Level
from medallion_ops.monitor.limits import Limits, ServiceLevels
from medallion_ops.monitor.observation import DatasetObservation, GoldObservation, Observation
from medallion_ops.monitor.problem import Problem, exceeds, span
from medallion_ops.monitor.record_rules import record_problems, topic_problems
from medallion_ops.streaming.consequences import WAITS, stream_consequence
from medallion_store.stop_request import FORGOTTEN_AFTER

QUESTION_REMINDER_MINUTES = 15
"""People are reminded of the gate's question this long before it expires."""
FAILED_RUNS = 3
"""So many failed runs of gold in a row are no accident of one hour."""


def problems(seen: Observation, limits: Limits) -> list[Problem]:
    """Everything that is wrong, in a fixed order.

    Args:
        seen: what was observed.
        limits: what it is held against.
    """
    found = list(_platform(seen, limits))
    for dataset in seen.datasets:
        levels = limits.levels.get(dataset.dataset, ServiceLevels())
        found += _stream(dataset, limits)
        found += topic_problems(dataset, levels)
        found += record_problems(dataset, levels, seen)
        found += _gold(dataset.dataset, dataset.gold, levels, limits)
        found += _gold_upkeep(dataset.dataset, dataset.gold)
    return found


def _platform(seen: Observation, limits: Limits) -> Iterator[Problem]:
    for name, reason in seen.unreachable.items():
        yield Problem(
            "unreachable",
            f"{name} cannot be reached: {reason}.",
            "What depends on it stands still; nothing is lost, and the monitor cannot see that part.",
            "Start it, or correct its address; `make status` shows what runs.",
            subject=name,
        )
    for dag_id in seen.paused_dags:
        yield Problem(
            "dag_paused",
            f"The DAG {dag_id} is paused.",
            "Nothing that it does happens until it is unpaused.",
            f"`airflow dags unpause {dag_id}`, or mute this incident while it must rest.",
            subject=dag_id,
            level=Level.WARNING,
        )
    for disk in seen.disks:
        if disk.free_percent < limits.settings.disk_free_percent:
            yield Problem(
                "disk_full",
                f"{disk.name} has {disk.free_percent:.0f} % free, less than "
                f"{limits.settings.disk_free_percent} %.",
                "When it is full, Kafka, the stream and Postgres stop writing; nothing half-written counts.",
                "Make room: old logs, `lake_maintenance`, a larger disk.",
                subject=disk.name,
            )
    for expiry in seen.expiries:
        days = (expiry.at - seen.now).total_seconds() / 86_400
        if days < limits.settings.expiry_days:
            yield Problem(
                "expires",
                f"{expiry.name} expires on {expiry.at:%Y-%m-%d %H:%M} UTC.",
                "Afterwards connections that need it are refused.",
                "Renew it, and restart what reads it only at its start.",
                subject=expiry.name,
                level=Level.WARNING if days > 0 else Level.CRITICAL,
            )
    yield from _mail(seen, limits)


def _mail(seen: Observation, limits: Limits) -> Iterator[Problem]:
    if seen.mail_path_problem is not None:
        yield Problem(
            "mail_path",
            f"Alerts may not reach anyone: {seen.mail_path_problem}.",
            "Data flows on; people may not hear of other problems.",
            "Check the mail server, its queue and the connection smtp_default.",
        )
    if seen.outbox_age > limits.settings.outbox_minutes * 60:
        yield Problem(
            "outbox",
            f"Alerts have waited for {span(seen.outbox_age)} for a mail server or webhook to take them.",
            "People are not notified of other problems.",
            "Look at `last_error` in audit.outbox; check the connection smtp_default.",
        )


def _stream(seen: DatasetObservation, limits: Limits) -> Iterator[Problem]:
    stream, settings, name = seen.stream, limits.settings, seen.dataset
    if stream.failure is not None:
        yield Problem(
            "stream_failed",
            f"The stream of {name} gave up: {stream.failure}",
            stream_consequence(stream.failure_kind),
            "Remove the cause; the next driver takes the batch up again.",
            name,
        )
    is_wanted = stream.stop_request_age is None
    if is_wanted and stream.heartbeat_age is not None and stream.heartbeat_age > settings.heartbeat_seconds:
        yield Problem(
            "stream_silent",
            f"The stream of {name} gave no heartbeat for {span(stream.heartbeat_age)}.",
            WAITS,
            f"See the run of {name}_streaming, and `python -m medallion_ops.control show {name}`.",
            name,
        )
    elif is_wanted and exceeds(stream.batch_idle, settings.batch_idle_minutes * 60):
        yield Problem(
            "batch_hangs",
            f"A micro-batch of {name} has been under way for {span(stream.batch_age)}, and no task of it "
            f"has finished for {span(stream.batch_idle)}.",
            WAITS,
            "See the driver's log: executors, broker, lake. A hanging driver is ended and started again.",
            name,
        )
    if exceeds(stream.stop_request_age, FORGOTTEN_AFTER.total_seconds()):
        yield Problem(
            "stop_request",
            f"The stream of {name} has been stopped for {span(stream.stop_request_age)}, as "
            f"{stream.stop_requested_by or 'someone'} requested.",
            WAITS,
            f"`python -m medallion_ops.control start {name}` when the work is done.",
            name,
            level=Level.WARNING,
        )


def _gold(name: str, gold: GoldObservation, levels: ServiceLevels, limits: Limits) -> Iterator[Problem]:
    if exceeds(gold.pending_age, levels.gold_freshness):
        yield Problem(
            "gold_stale",
            f"Silver of {name} has had changes for {span(gold.pending_age)} that gold does not show; the "
            f"contract promises {span(levels.gold_freshness)}.",
            "Readers of gold see old values; nothing is lost.",
            f"See the last runs of {name}_gold: failed, blocked by the gate, or waiting?",
            name,
        )
    if gold.run_age is not None and gold.run_age > limits.settings.gold_run_minutes * 60:
        yield Problem(
            "gold_hangs",
            f"A run of {name}_gold has been going on for {span(gold.run_age)}.",
            "Gold stays as the last publication left it; later hours wait behind this run.",
            "See which task runs, and its log.",
            name,
        )
    left = gold.question_minutes_left
    if left is not None and left <= QUESTION_REMINDER_MINUTES:
        yield Problem(
            "question_expires",
            f"The gate's question about {name} has no answer yet and expires in {left:.0f} minutes.",
            "Without an answer gold stays blocked.",
            f"Answer the task `decide` of {name}_gold under Required Actions in Airflow.",
            name,
            level=Level.WARNING,
        )
    if gold.label_source_problem is not None:
        yield Problem(
            "label_source",
            f"The enrichment source of {name} cannot be used: {gold.label_source_problem}.",
            "Gold keeps the last snapshot of the labels.",
            "Bring the source back, or correct MEDALLION_CHURN_SOURCE.",
            name,
            level=Level.WARNING,
        )


def _gold_upkeep(name: str, gold: GoldObservation) -> Iterator[Problem]:
    if gold.unreadable:
        yield Problem(
            "gold_unreadable",
            f"Readers cannot read all of {name}'s gold: {'; '.join(gold.unreadable)}.",
            "Published rows are not lost, but queries of readers fail.",
            f"`python -m medallion_ops.migrations --dataset {name}` makes views and grants again.",
            name,
        )
    if exceeds(gold.failed_runs, FAILED_RUNS - 1):
        yield Problem(
            "gold_failing",
            f"The last {FAILED_RUNS} or more runs of {name}_gold failed or were blocked by the gate.",
            "Gold stays as the last publication left it, and falls behind silver; nothing is lost.",
            f"See the last mails about {name}_gold, or its failed task: remove the reason, or decide.",
            name,
        )
