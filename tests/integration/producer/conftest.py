"""Topics to send to, and their records read back."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.producer.client import kafka_client_options
from medallion_ops.producer.topic import create_topic

Offsets = dict[int, int]


@pytest.fixture(scope="session")
def kafka(broker: str) -> KafkaSettings:
    """Settings of the tests' broker."""
    return KafkaSettings(broker)


@pytest.fixture
def fresh_topic(kafka: KafkaSettings) -> str:
    """Name of a new topic with 3 partitions."""
    return create_topic(kafka, f"test-{uuid.uuid4()}", partitions=3).name


class TopicReader:
    """Reads a topic's records from given offsets to its present end."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._options = kafka_client_options(settings)

    def end(self, topic: str) -> Offsets:
        """Present end offset by partition."""
        consumer = KafkaConsumer(**self._options)
        try:
            return self._end(consumer, topic)
        finally:
            consumer.close()

    def records(self, topic: str, since: Offsets | None = None) -> list[Any]:
        """Records with partition, offset, key, value, headers; ordered within a partition."""
        consumer = KafkaConsumer(**self._options, enable_auto_commit=False)
        try:
            end = self._end(consumer, topic)
            partitions = [TopicPartition(topic, number) for number in end]
            consumer.assign(partitions)
            for partition in partitions:
                consumer.seek(partition, (since or {}).get(partition.partition, 0))
            records: list[Any] = []
            while any(consumer.position(partition) < end[partition.partition] for partition in partitions):
                for batch in consumer.poll(timeout_ms=1_000).values():
                    records.extend(batch)
            return records
        finally:
            consumer.close()

    @staticmethod
    def _end(consumer: KafkaConsumer, topic: str) -> Offsets:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        return {partition.partition: offset for partition, offset in consumer.end_offsets(partitions).items()}


@pytest.fixture(scope="session")
def reader(kafka: KafkaSettings) -> TopicReader:
    """Reads topics of the tests' broker."""
    return TopicReader(kafka)


ReaderFor = Callable[[KafkaSettings], TopicReader]


@pytest.fixture(scope="session")
def reader_for() -> ReaderFor:
    """Makes readers for other brokers."""
    return TopicReader
