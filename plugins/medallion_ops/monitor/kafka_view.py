"""What the monitor asks the broker: what waits behind the ledger's offsets, and since when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.monitor.observation import TopicState

if TYPE_CHECKING:
    from kafka import KafkaConsumer

POLL_MS = 2_000
_LOG_APPEND_TIME = 1


@dataclass(frozen=True)
class Backlog:
    """Records behind the ledger; `oldest` is when the first of them came, None when none waits.

    `shrunk` are partitions that end before what the ledger has read: another log is behind their name.
    `missing` are topics that the ledger has read and the broker has no more.
    """

    records: int
    oldest: datetime | None
    shrunk: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def topic_states(settings: KafkaSettings, topics: Iterable[str]) -> tuple[TopicState, ...]:
    """Which topics are there, and how long they keep records.

    Args:
        settings: of Kafka.
        topics: names.

    Raises:
        ServiceUnavailable: no broker answers.
    """
    from medallion_ops.producer.topic import describe_topics

    return tuple(
        TopicState(name, topic is not None, _seconds(topic.retention_ms) if topic else None)
        for name, topic in describe_topics(settings, topics).items()
    )


def _seconds(milliseconds: int | None) -> float | None:
    """None for a topic that keeps records for ever, or a broker that does not tell."""
    return None if milliseconds is None or milliseconds < 0 else milliseconds / 1000


def backlog(
    settings: KafkaSettings,
    topics: tuple[str, ...],
    offsets: Mapping[tuple[str, int], int],
    fallback: datetime | None,
) -> Backlog:
    """What waits in the topics behind these offsets.

    Args:
        settings: of Kafka.
        topics: names; one that does not exist has no backlog.
        offsets: next offset by (topic, partition); a partition not named starts at its beginning.
        fallback: taken for the time of a record whose producer set it (CreateTime): that clock is not ours.

    Raises:
        ServiceUnavailable: no broker answers.
    """
    from kafka import KafkaConsumer, TopicPartition

    from medallion_ops.producer.client import broker_errors, kafka_client_options

    with broker_errors(settings):
        consumer = KafkaConsumer(
            **kafka_client_options(settings),
            enable_auto_commit=False,
            isolation_level="read_committed",
            max_poll_records=1,
        )
        try:
            partitions = [
                TopicPartition(topic, partition)
                for topic in topics
                for partition in sorted(consumer.partitions_for_topic(topic) or ())
            ]
            there = {one.topic for one in partitions}
            missing = tuple(sorted({topic for topic, _ in offsets if topic in topics} - there))
            if not partitions:
                return Backlog(0, None, missing=missing)
            ends, starts = consumer.end_offsets(partitions), consumer.beginning_offsets(partitions)
            waiting = {
                one: max(offsets.get((one.topic, one.partition), 0), starts[one])
                for one in partitions
                if ends[one] > max(offsets.get((one.topic, one.partition), 0), starts[one])
            }
            records = sum(ends[one] - start for one, start in waiting.items())
            times = [_first_time(consumer, one, start, fallback) for one, start in waiting.items()]
            shrunk = tuple(
                f"{one.topic}-{one.partition}"
                for one in partitions
                if ends[one] < offsets.get((one.topic, one.partition), 0)
            )
            return Backlog(records, min((one for one in times if one), default=None), shrunk, missing)
        finally:
            consumer.close()


def _first_time(
    consumer: KafkaConsumer, partition: object, offset: int, fallback: datetime | None
) -> datetime | None:
    """When the first record at or behind an offset came; None when only markers are there."""
    consumer.assign([partition])
    consumer.seek(partition, offset)
    for records in consumer.poll(timeout_ms=POLL_MS, max_records=1).values():
        for record in records:
            if record.timestamp_type == _LOG_APPEND_TIME:
                return datetime.fromtimestamp(record.timestamp / 1000, UTC)
            return fallback or datetime.fromtimestamp(max(record.timestamp, 0) / 1000, UTC)
    return None
