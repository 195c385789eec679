"""Rules about topics and the records on their way to silver."""

from __future__ import annotations

from collections.abc import Iterator

from medallion_ops.alerts.alert import Level
from medallion_ops.monitor.limits import ServiceLevels
from medallion_ops.monitor.observation import DatasetObservation, Observation
from medallion_ops.monitor.problem import Problem, exceeds, span

ENOUGH_RECORDS = 100
"""A share of fewer recent records says nothing."""
JUMP_SHARE, USUAL_SHARE = 0.5, 0.1
"""Half of the recent records quarantined, where it was under a tenth of the last day's, is a problem even
without a declared rate."""


def topic_problems(seen: DatasetObservation, levels: ServiceLevels) -> Iterator[Problem]:
    """What is wrong with the topics themselves.

    Args:
        seen: the dataset.
        levels: what its contracts promise.
    """
    for topic in seen.stream.topics:
        if not topic.is_there:
            yield Problem(
                "topic_missing",
                f"The broker has no topic {topic.name}.",
                "No event can be sent there, and what it held is gone with it; silver and gold stay.",
                "Create it if it was deleted; correct MEDALLION_KAFKA_BOOTSTRAP if that is another cluster.",
                seen.dataset,
                topic.name,
            )
        elif exceeds(levels.retention, topic.keeps_seconds):
            yield Problem(
                "topic_retention",
                f"The topic {topic.name} keeps records for {span(topic.keeps_seconds)}; the contract "
                f"promises {span(levels.retention)}.",
                "A stream that stands still for longer loses records.",
                f"Set retention.ms of {topic.name} to {(levels.retention or 0) * 1000:.0f} or more.",
                seen.dataset,
                topic.name,
                level=Level.WARNING,
            )
    if seen.stream.shrunk:
        yield Problem(
            "topic_replaced",
            f"{', '.join(seen.stream.shrunk)} end before the offsets that the ledger has read: another log "
            "is behind that name.",
            "The stream stops rather than pass records over; nothing in the lake is touched.",
            f"Is that meant? Then `python -m medallion_ops.control accept-log {seen.dataset}`.",
            seen.dataset,
        )


def record_problems(seen: DatasetObservation, levels: ServiceLevels, at: Observation) -> Iterator[Problem]:
    """What is wrong with records: late, lost, refused, or missing.

    Args:
        seen: the dataset.
        levels: what its contracts promise.
        at: the whole look, for its time.
    """
    stream, name, recent = seen.stream, seen.dataset, seen.stream.recent
    if exceeds(stream.backlog_age, levels.silver_freshness):
        yield Problem(
            "silver_stale",
            f"The oldest event of {name} that is not in silver has waited for {span(stream.backlog_age)}; "
            f"the contract promises {span(levels.silver_freshness)} ({stream.backlog_records or 0:,} wait).",
            "Silver and gold lag behind the source.",
            "Is the stream running? Are micro-batches longer than the trigger?",
            name,
        )
    elif exceeds(stream.latency_p95, levels.latency) and recent.read:
        yield Problem(
            "latency",
            f"Events of {name} took {span(stream.latency_p95)} (p95) from Kafka to silver; the contract "
            f"promises {span(levels.latency)}.",
            "Silver and gold lag behind the source.",
            "See the progress table: backlog, batch duration, trigger.",
            name,
            level=Level.WARNING,
        )
    yield from _quarantine(seen, levels)
    yield from _loss(seen, levels)
    if levels.expects_events(at.now) and exceeds(stream.silence, levels.expected_interval):
        yield Problem(
            "traffic_missing",
            f"No event of {name} came for {span(stream.silence)}; the contract expects one every "
            f"{span(levels.expected_interval)}.",
            "Silver and gold are complete, but the source may be down.",
            "Ask whoever runs the producer.",
            name,
        )


def _loss(seen: DatasetObservation, levels: ServiceLevels) -> Iterator[Problem]:
    """What went missing of late, and, where the contract promises completeness, of the last day."""
    recent, day = seen.stream.recent, seen.stream.recent + seen.stream.last_day
    promised = levels.completeness_percent
    if not (recent.lost or recent.unbalanced or exceeds(promised, day.complete_percent)):
        return
    limit = "" if promised is None else f"; the contract promises {promised:g} %"
    yield Problem(
        "loss",
        f"The ledger of {seen.dataset} counts {day.lost:,} lost records and {day.unbalanced} micro-batches "
        f"whose numbers do not add up, in the last day ({day.complete_percent:.4g} % complete{limit}).",
        "Records are missing from bronze and everything after it.",
        "Find the records at their source; the ledger names partitions and offsets.",
        seen.dataset,
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
