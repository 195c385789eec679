"""The rules of verdicts in plain Python, record after record: what the stream must agree with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from kafka_log import Coordinates, Record, Verdict
from medallion_contracts.judge import EventJudge
from medallion_contracts.model import Dataset

TOLERANCE = timedelta(minutes=5)
LOG_APPEND_TIME = 1


def verdicts_of(
    log: Iterable[Record], dataset: Dataset, *, clock: datetime, watermark: timedelta = timedelta(minutes=10)
) -> dict[Coordinates, Verdict]:
    """Verdict and reasons of each record of a log, in the order in which it was read."""
    judge = EventJudge(dataset.events)
    newest: dict[tuple[str, int], datetime] = {}
    accepted: dict[tuple[object, object], Mapping[str, object]] = {}
    result: dict[Coordinates, Verdict] = {}
    for record in log:
        judgement = judge.judge(record.value)
        reasons = list(judgement.reasons)
        moment = judgement.fields.get(dataset.event_time)
        is_late = False
        if isinstance(moment, datetime):
            is_brokers = record.timestamp_type == LOG_APPEND_TIME
            if moment > (min(record.timestamp, clock) if is_brokers else clock) + TOLERANCE:
                reasons.append("future")
            else:
                source = record.topic, record.partition
                before = newest.get(source)
                is_late = record.topic == dataset.topic and before is not None and moment < before - watermark
                newest[source] = max(moment, before or moment)
        version = judgement.fields.get(dataset.key), moment
        if reasons:
            verdict = "rejected"
        elif is_late:
            verdict = "late"
        elif version not in accepted:
            verdict = "silver"
            accepted[version] = judgement.fields
        elif accepted[version] == judgement.fields:
            verdict = "duplicate"
        else:
            verdict, reasons = "rejected", ["conflict"]
        result[record.coordinates] = verdict, tuple(reasons)
    return result
