"""Asks the broker for what identifies a log, by Kafka's own clients in the driver's JVM."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.sql import SparkSession

from medallion_contracts.errors import ServiceUnavailable
from medallion_spark.stream.last_records import LastRecord, Partition, record_hash
from medallion_spark.stream.log_identity import LogId
from medallion_spark.stream.source import KafkaAccess, client_options

POLL_SECONDS = 30
"""How long one record is waited for that the broker says it has."""
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""Kafka's text for the id of a topic whose broker has none."""
_NO_TOPIC = "UnknownTopicOrPartitionException"
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Description:
    """A topic as the broker describes it."""

    id: LogId
    partitions: tuple[Partition, ...]


class LogReader:
    """A broker's topics; may be used by several threads."""

    def __init__(self, spark: SparkSession, kafka: KafkaAccess) -> None:
        self._jvm: Any = spark._jvm
        self._kafka = kafka
        self._admin: Any = None
        self._lock = threading.Lock()

    def describe(self, topics: Iterable[str]) -> dict[str, Description]:
        """What identifies the topics, and their partitions; topics that are not there are left out.

        Raises:
            ServiceUnavailable: the broker does not answer.
        """
        return self._asked(lambda admin: self._describe(admin, topics))

    def _describe(self, admin: Any, topics: Iterable[str]) -> dict[str, Description]:
        cluster_id = admin.describeCluster().clusterId().get()
        names = self._jvm.java.util.ArrayList()
        for topic in topics:
            names.add(topic)
        found = {}
        for topic, future in dict(admin.describeTopics(names).topicNameValues()).items():
            try:
                description = future.get()
            except Py4JJavaError as error:
                if _NO_TOPIC in str(error.java_exception):
                    continue
                raise
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
        return self._asked(lambda admin: self._offsets(admin, partitions, "earliest"))

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset that the next record of each partition gets.

        Raises:
            ServiceUnavailable: the broker does not answer.
        """
        return self._asked(lambda admin: self._offsets(admin, partitions, "latest"))

    def _offsets(self, admin: Any, partitions: Iterable[Partition], which: str) -> dict[Partition, int]:
        kafka = self._jvm.org.apache.kafka
        spec = getattr(kafka.clients.admin.OffsetSpec, which)()
        wanted = {where: kafka.common.TopicPartition(*where) for where in partitions}
        request = self._jvm.java.util.HashMap()
        for partition in wanted.values():
            request.put(partition, spec)
        listed = admin.listOffsets(request).all().get()
        return {where: int(listed.get(partition).offset()) for where, partition in wanted.items()}

    def first_records(self, starts: Mapping[Partition, int]) -> dict[Partition, LastRecord]:
        """Of each partition the first committed record at or after an offset; left out where there is none.

        Args:
            starts: offsets that the partitions have, or their ends.

        Raises:
            ServiceUnavailable: the broker does not answer.
        """
        if not starts:
            return {}
        with self._failures_named(), self._consumer() as consumer:
            found = {}
            for where, start in starts.items():
                record = self._first_record(consumer, where, start)
                if record is not None:
                    found[where] = record
            return found

    def _first_record(self, consumer: Any, where: Partition, start: int) -> LastRecord | None:
        partition = self._jvm.org.apache.kafka.common.TopicPartition(*where)
        alone = self._jvm.java.util.ArrayList()
        alone.add(partition)
        consumer.assign(alone)
        end = int(consumer.endOffsets(alone).get(partition))
        consumer.seek(partition, start)
        deadline = time.monotonic() + POLL_SECONDS
        while int(consumer.position(partition)) < end:
            for record in consumer.poll(self._jvm.java.time.Duration.ofMillis(500)).records(partition):
                key, value = (
                    None if part is None else bytes(part) for part in (record.key(), record.value())
                )
                return LastRecord(int(record.offset()), int(record.timestamp()), record_hash(key, value))
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"the broker at {self._kafka.bootstrap} gives no record of {where[0]}-{where[1]} from "
                    f"offset {start} on, and says that it has some up to {end}: see its log"
                )
        return None

    @contextmanager
    def _consumer(self) -> Iterator[Any]:
        properties = self._properties()
        deserializer = "org.apache.kafka.common.serialization.ByteArrayDeserializer"
        for name, value in {
            "key.deserializer": deserializer,
            "value.deserializer": deserializer,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": "false",
            # One record is wanted; the broker gives at least one, however large.
            "max.partition.fetch.bytes": "1024",
            "max.poll.records": "1",
        }.items():
            properties.setProperty(name, value)
        consumer = self._jvm.org.apache.kafka.clients.consumer.KafkaConsumer(properties)
        try:
            yield consumer
        finally:
            consumer.close()

    def _asked(self, question: Callable[[Any], _Result]) -> _Result:
        with self._failures_named(), self._lock:
            if self._admin is None:
                self._admin = self._jvm.org.apache.kafka.clients.admin.AdminClient.create(self._properties())
            return question(self._admin)

    def _properties(self) -> Any:
        properties = self._jvm.java.util.Properties()
        for name, value in client_options(self._kafka).items():
            properties.setProperty(name, value)
        return properties

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except Py4JJavaError as error:
            kind = str(error.java_exception.getClass().getSimpleName())
            cause = error.java_exception.getCause()
            if cause is not None:
                kind = str(cause.getClass().getSimpleName())
            raise ServiceUnavailable(
                f"the broker at {self._kafka.bootstrap} (MEDALLION_KAFKA_BOOTSTRAP) does not answer "
                f"({kind}): check that it runs and lets this login in"
            ) from error
        except Py4JError as error:
            raise ServiceUnavailable("the driver's JVM does not answer") from error

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            if self._admin is not None:
                self._admin.close()
                self._admin = None
