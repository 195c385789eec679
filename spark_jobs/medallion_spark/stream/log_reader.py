"""Asks the broker for what identifies a log, and for single records of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from medallion_contracts.errors import ServiceUnavailable
from medallion_spark.stream.kafka_clients import KafkaClients
from medallion_spark.stream.last_records import LastRecord, Partition, record_hash
from medallion_spark.stream.log_identity import LogId
from medallion_spark.stream.source import KafkaAccess

POLL_SECONDS = 30
"""How long one record is waited for that the broker says it has."""
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""Kafka's text for the id of a topic whose broker has none."""
_NO_TOPIC = "UnknownTopicOrPartitionException"


@dataclass(frozen=True)
class Description:
    """A topic as the broker describes it."""

    id: LogId
    partitions: tuple[Partition, ...]


class LogReader:
    """A broker's topics; may be used by several threads."""

    def __init__(self, spark: SparkSession, kafka: KafkaAccess) -> None:
        self._clients = KafkaClients(spark, kafka)

    def describe(self, topics: Iterable[str]) -> dict[str, Description]:
        """What identifies the topics, and their partitions; topics that are not there are left out.

        Raises:
            ServiceUnavailable: the broker does not answer.
        """
        with self._clients.admin() as admin:
            cluster_id = admin.describeCluster().clusterId().get()
            found = {}
            for topic, future in dict(
                admin.describeTopics(self._clients.list_of(topics)).topicNameValues()
            ).items():
                description = _described(future)
                if description is None:
                    continue
                topic_id = str(description.topicId().toString())
                found[str(topic)] = Description(
                    LogId(str(cluster_id) if cluster_id else None, None if topic_id == _NO_ID else topic_id),
                    tuple((str(topic), int(info.partition())) for info in description.partitions()),
                )
            return found

    def begins(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The first offset that the broker still has of each partition.

        Raises:
            ServiceUnavailable: the broker does not answer.
        """
        return self._clients.offsets(partitions, "earliest")

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset that the next record of each partition gets.

        Raises:
            ServiceUnavailable: the broker does not answer.
        """
        return self._clients.offsets(partitions, "latest")

    def first_records(self, starts: Mapping[Partition, int]) -> dict[Partition, LastRecord]:
        """Of each partition the first committed record at or after an offset; left out where there is none.

        Args:
            starts: offsets that the partitions have, or their ends.

        Raises:
            ServiceUnavailable: the broker does not answer.
        """
        if not starts:
            return {}
        with self._clients.failures_named(), self._consumer() as consumer:
            found = {}
            for where, start in starts.items():
                record = self._first_record(consumer, where, start)
                if record is not None:
                    found[where] = record
            return found

    def _first_record(self, consumer: Any, where: Partition, start: int) -> LastRecord | None:
        partition = self._clients.partition(where)
        alone = self._clients.list_of([partition])
        consumer.assign(alone)
        end = int(consumer.endOffsets(alone).get(partition))
        consumer.seek(partition, start)
        deadline = time.monotonic() + POLL_SECONDS
        while int(consumer.position(partition)) < end:
            for record in consumer.poll(self._clients.duration(500)).records(partition):
                key, value = (
                    None if part is None else bytes(part) for part in (record.key(), record.value())
                )
                return LastRecord(int(record.offset()), int(record.timestamp()), record_hash(key, value))
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"the broker at {self._clients.bootstrap} gives no record of {where[0]}-{where[1]} from "
                    f"offset {start} on, and says that it has some up to {end}: see its log"
                )
        return None

    @contextmanager
    def _consumer(self) -> Iterator[Any]:
        # The broker gives at least one record, however large.
        consumer = self._clients.consumer(
            {"auto.offset.reset": "earliest", "max.partition.fetch.bytes": "1024"}
        )
        try:
            yield consumer
        finally:
            consumer.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._clients.close()


def _described(future: Any) -> Any:
    """A topic's description; None when there is no such topic."""
    try:
        return future.get()
    except Py4JJavaError as error:
        if _NO_TOPIC in str(error.java_exception):
            return None
        raise
