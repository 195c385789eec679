"""From an observation to the problems in it: pure functions of what was seen and now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medallion_ops.alerts.alert import Level
from medallion_ops.monitor.limits import Limits, ServiceLevels
from medallion_ops.monitor.observation import DatasetObservation, GoldObservation, Observation
from medallion_store.stop_request import FORGOTTEN_AFTER

ENOUGH_RECORDS = 100
"""A share of fewer recent records says nothing."""
JUMP_SHARE, USUAL_SHARE = 0.5, 0.1
"""Half of the recent records quarantined, where it was under a tenth of the last day's, is a problem even
without a declared rate."""
QUESTION_REMINDER_MINUTES = 15
"""People are reminded of the gate's question this long before it expires."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `code`, `dataset` and `subject` together identify its incident.

    `code` is the anchor of its paragraph in the runbooks, too.
    """

    code: str
    happened: str
    meaning: str
    first_step: str
    dataset: str = ""
    subject: str = ""
    level: Level = Level.CRITICAL


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
        found += _records(dataset, levels, seen)
        found += _gold(dataset.dataset, dataset.gold, levels, limits)
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
    if seen.outbox_age > limits.settings.outbox_minutes * 60:
        yield Problem(
            "outbox",
            f"Alerts have waited for {_span(seen.outbox_age)} for a mail server or webhook to take them.",
            "People are not notified of other problems.",
            "Look at `last_error` in audit.outbox; check the connection smtp_default.",
        )


def _stream(seen: DatasetObservation, limits: Limits) -> Iterator[Problem]:
    stream, settings, name = seen.stream, limits.settings, seen.dataset
    waits = "New events wait in Kafka and are not in silver. Nothing is lost while Kafka keeps them."
    if stream.failure is not None:
        yield Problem(
            "stream_failed",
            f"The stream of {name} gave up: {stream.failure}",
            waits,
            "Remove the cause; the next driver takes the batch up again.",
            name,
        )
    is_wanted = stream.stop_request_age is None
    if is_wanted and stream.heartbeat_age is not None and stream.heartbeat_age > settings.heartbeat_seconds:
        yield Problem(
            "stream_silent",
            f"The stream of {name} gave no heartbeat for {_span(stream.heartbeat_age)}.",
            waits,
            f"See the run of {name}_streaming, and `python -m medallion_ops.control show {name}`.",
            name,
        )
    elif is_wanted and _exceeds(stream.batch_idle, settings.batch_idle_minutes * 60):
        yield Problem(
            "batch_hangs",
            f"A micro-batch of {name} has been under way for {_span(stream.batch_age)}, and no task of it "
            f"has finished for {_span(stream.batch_idle)}.",
            waits,
            "See the driver's log: executors, broker, lake. A hanging driver is ended and started again.",
            name,
        )
    if _exceeds(stream.stop_request_age, FORGOTTEN_AFTER.total_seconds()):
        yield Problem(
            "stop_request",
            f"The stream of {name} has been stopped for {_span(stream.stop_request_age)}, as "
            f"{stream.stop_requested_by or 'someone'} requested.",
            waits,
            f"`python -m medallion_ops.control start {name}` when the work is done.",
            name,
            level=Level.WARNING,
        )


def _records(seen: DatasetObservation, levels: ServiceLevels, at: Observation) -> Iterator[Problem]:
    stream, name, recent = seen.stream, seen.dataset, seen.stream.recent
    if _exceeds(stream.backlog_age, levels.silver_freshness):
        yield Problem(
            "silver_stale",
            f"The oldest event of {name} that is not in silver has waited for {_span(stream.backlog_age)}; "
            f"the contract promises {_span(levels.silver_freshness)} ({stream.backlog_records or 0:,} wait).",
            "Silver and gold lag behind the source.",
            "Is the stream running? Are micro-batches longer than the trigger?",
            name,
        )
    elif _exceeds(stream.latency_p95, levels.latency) and recent.read:
        yield Problem(
            "latency",
            f"Events of {name} took {_span(stream.latency_p95)} (p95) from Kafka to silver; the contract "
            f"promises {_span(levels.latency)}.",
            "Silver and gold lag behind the source.",
            "See the progress table: backlog, batch duration, trigger.",
            name,
            level=Level.WARNING,
        )
    yield from _quarantine(seen, levels)
    if recent.lost or recent.unbalanced:
        yield Problem(
            "loss",
            f"The ledger of {name} counts {recent.lost:,} lost records and {recent.unbalanced} micro-batches "
            "whose numbers do not add up.",
            "Records are missing from bronze and everything after it.",
            "Find the records at their source; the ledger names partitions and offsets.",
            name,
        )
    if levels.expects_events(at.now) and _exceeds(stream.silence, levels.expected_interval):
        yield Problem(
            "traffic_missing",
            f"No event of {name} came for {_span(stream.silence)}; the contract expects one every "
            f"{_span(levels.expected_interval)}.",
            "Silver and gold are complete, but the source may be down.",
            "Ask whoever runs the producer.",
            name,
        )


def _quarantine(seen: DatasetObservation, levels: ServiceLevels) -> Iterator[Problem]:
    recent, usual = seen.stream.recent, seen.stream.last_day
    share, percent = recent.quarantined_share, levels.quarantine_percent
    is_over = percent is not None and share * 100 > percent
    is_jump = share >= JUMP_SHARE and usual.quarantined_share < USUAL_SHARE
    if recent.read >= ENOUGH_RECORDS and (is_over or is_jump):
        limit = f"the contract allows {percent:g} %" if percent is not None else "far more than usual"
        yield Problem(
            "quarantine_rate",
            f"{share:.0%} of the last {recent.read:,} events of {seen.dataset} are in quarantine "
            f"({recent.rejected:,} rejected, {recent.late:,} late): {limit}; "
            f"{usual.quarantined_share:.1%} of the last day's.",
            "These events are kept, but are not in silver or gold until they are replayed.",
            "See the reasons in the quarantine; correct the source or the contract, then replay.",
            seen.dataset,
        )


def _gold(name: str, gold: GoldObservation, levels: ServiceLevels, limits: Limits) -> Iterator[Problem]:
    if _exceeds(gold.pending_age, levels.gold_freshness):
        yield Problem(
            "gold_stale",
            f"Silver of {name} has had changes for {_span(gold.pending_age)} that gold does not show; the "
            f"contract promises {_span(levels.gold_freshness)}.",
            "Readers of gold see old values; nothing is lost.",
            f"See the last runs of {name}_gold: failed, blocked by the gate, or waiting?",
            name,
        )
    if gold.run_age is not None and gold.run_age > limits.settings.gold_run_minutes * 60:
        yield Problem(
            "gold_hangs",
            f"A run of {name}_gold has been going on for {_span(gold.run_age)}.",
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


def _exceeds(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit


def _span(seconds: float | None) -> str:
    """A duration for people: 45 s, 12 min, 3.5 h, 2.1 days."""
    value = seconds or 0.0
    if value < 120:
        return f"{value:.0f} s"
    if value < 7_200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h" if value < 172_800 else f"{value / 86_400:.1f} days"
