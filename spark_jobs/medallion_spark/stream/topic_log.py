"""What the broker says of the topics' logs: where they begin and end, what it serves of them, what it keeps.

Asked through the clients of Spark's own JVM: they log in as Spark's source does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from medallion_contracts.errors import ServiceUnavailable
from medallion_spark.stream.source import READ_COMMITTED, KafkaAccess, client_options

logger = logging.getLogger(__name__)

Where = tuple[str, int]
"""A partition of a topic."""

POLL_MILLISECONDS = 200
PROGRESS_SECONDS = 60
"""So long the broker may serve nothing of a range that it says it has."""
FETCH_BYTES = 4 * 1024 * 1024
"""Most bytes of one fetch while a hole is passed over: a large aborted transaction takes few of them."""


class LogStartMoved(Exception):
    """Retention took the offset away that was about to be read."""


@dataclass(frozen=True)
class Retention:
    """What a topic keeps: `cleanup` are the words of its cleanup.policy; -1 means without limit."""

    cleanup: frozenset[str]
    milliseconds: int
    size: int

    @property
    def is_compacted(self) -> bool:
        """Whether records go when a newer one of their key is there."""
        return "compact" in self.cleanup


@dataclass(frozen=True)
class HeldBack:
    """Offsets that wait for the end of a transaction, from the last stable offset up to the log's end."""

    last_stable_offset: int
    end_offset: int

    @property
    def offsets(self) -> int:
        """How many wait."""
        return self.end_offset - self.last_stable_offset


class TopicLog(Protocol):
    """The log of each topic, as a reader of committed records sees it."""

    def starts(self, topic: str) -> Mapping[int, int]:
        """The first offset that is still kept, by partition."""

    def is_compacted(self, topic: str) -> bool:
        """Whether the topic is compacted; false where the broker does not say."""

    def first_record(self, where: Where, offsets: range) -> int | None:
        """The first of these offsets at which a record is served; None when none is.

        Raises:
            LogStartMoved: the first of them is not kept any more.
        """


class BrokerLog:
    """The logs of a real broker. Connects when it is first asked; `close` ends that.

    Args:
        spark: the session, whose JVM has the clients.
        kafka: the broker.
    """

    def __init__(self, spark: SparkSession, kafka: KafkaAccess) -> None:
        self._jvm: Any = spark._jvm
        self._kafka = kafka
        self._admin_client: Any = None
        self._consumer_client: Any = None

    def starts(self, topic: str) -> dict[int, int]:
        """See TopicLog."""
        found = self._offsets([topic], self._kafka_package.clients.admin.OffsetSpec.earliest())
        return {partition: offset for (_, partition), offset in found.items()}

    def held_back(self, topics: Iterable[str]) -> dict[Where, HeldBack]:
        """The partitions in which an open transaction keeps records from being read."""
        names = list(topics)
        latest = self._kafka_package.clients.admin.OffsetSpec.latest
        # In this order: what is written in between is not taken for held back.
        ends = self._offsets(names, latest())
        stable = self._offsets(names, latest(), committed=True)
        return {
            where: HeldBack(stable[where], end)
            for where, end in ends.items()
            if where in stable and stable[where] < end
        }

    def retention(self, topic: str) -> Retention | None:
        """What the topic keeps; None where the broker does not say."""
        resource_class = self._kafka_package.common.config.ConfigResource
        resource = resource_class(resource_class.Type.TOPIC, topic)
        try:
            config = self._admin.describeConfigs(self._list([resource])).all().get().get(resource)
            values = {
                name: str(config.get(name).value())
                for name in ("cleanup.policy", "retention.ms", "retention.bytes")
                if config.get(name) is not None
            }
        except Py4JJavaError as error:
            logger.warning("the broker does not say what it keeps of %s: %s", topic, _reason(error))
            return None
        cleanup = frozenset(word.strip() for word in values.get("cleanup.policy", "delete").split(","))
        return Retention(cleanup, int(values.get("retention.ms", -1)), int(values.get("retention.bytes", -1)))

    def is_compacted(self, topic: str) -> bool:
        """See TopicLog."""
        retention = self.retention(topic)
        return retention is not None and retention.is_compacted

    def first_record(self, where: Where, offsets: range) -> int | None:
        """See TopicLog.

        The broker decides: a consumer of its own, put at the first offset, moves on until it is served a
        record or has passed the last one. An aborted transaction's bytes are fetched, but never kept.
        """
        if not offsets:
            return None
        partition = self._kafka_package.common.TopicPartition(*where)
        try:
            self._consumer.assign(self._list([partition]))
            self._consumer.seek(partition, offsets.start)
            return self._pass_over(partition, offsets)
        except Py4JJavaError as error:
            if error.java_exception.getClass().getSimpleName() == "OffsetOutOfRangeException":
                raise LogStartMoved from error
            raise self._unavailable(error) from error

    def _pass_over(self, partition: Any, offsets: range) -> int | None:
        position, moved_at = offsets.start, time.monotonic()
        patience = self._jvm.java.time.Duration.ofMillis(POLL_MILLISECONDS)
        while position < offsets.stop:
            served = self._consumer.poll(patience).iterator()
            if served.hasNext():
                offset = int(served.next().offset())
                return offset if offset < offsets.stop else None
            before, position = position, int(self._consumer.position(partition))
            if position > before:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > PROGRESS_SECONDS:
                raise ServiceUnavailable(
                    f"the broker at {self._kafka.bootstrap} (MEDALLION_KAFKA_BOOTSTRAP) serves nothing of "
                    f"{partition.toString()} from offset {position} on, although its log goes on: look at "
                    "the broker's state and its replicas"
                )
        return None

    def close(self) -> None:
        """End the connections."""
        for client in (self._consumer_client, self._admin_client):
            if client is not None:
                client.close(self._jvm.java.time.Duration.ZERO)
        self._consumer_client = self._admin_client = None

    def _offsets(self, topics: Iterable[str], spec: Any, *, committed: bool = False) -> dict[Where, int]:
        levels = self._kafka_package.common.IsolationLevel
        level = levels.READ_COMMITTED if committed else levels.READ_UNCOMMITTED
        options = self._kafka_package.clients.admin.ListOffsetsOptions(level)
        wanted = self._jvm.java.util.HashMap()
        try:
            described = self._admin.describeTopics(self._list(topics)).allTopicNames().get()
            for topic in described.values():
                for info in topic.partitions():
                    where = self._kafka_package.common.TopicPartition(topic.name(), info.partition())
                    wanted.put(where, spec)
            found = self._admin.listOffsets(wanted, options).all().get()
        except Py4JJavaError as error:
            raise self._unavailable(error) from error
        return {
            (entry.getKey().topic(), int(entry.getKey().partition())): int(entry.getValue().offset())
            for entry in found.entrySet()
        }

    def _unavailable(self, error: Py4JJavaError) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"the broker at {self._kafka.bootstrap} (MEDALLION_KAFKA_BOOTSTRAP) does not answer: "
            f"{_reason(error)}"
        )

    @property
    def _kafka_package(self) -> Any:
        return self._jvm.org.apache.kafka

    @property
    def _admin(self) -> Any:
        if self._admin_client is None:
            self._admin_client = self._kafka_package.clients.admin.Admin.create(self._properties({}))
        return self._admin_client

    @property
    def _consumer(self) -> Any:
        if self._consumer_client is None:
            bytes_only = "org.apache.kafka.common.serialization.ByteArrayDeserializer"
            self._consumer_client = self._kafka_package.clients.consumer.KafkaConsumer(
                self._properties(
                    {
                        **READ_COMMITTED,
                        "auto.offset.reset": "none",
                        "enable.auto.commit": "false",
                        "max.poll.records": "1",
                        # Behind a marker at the log's end nothing comes: there is nothing to wait for.
                        "fetch.max.wait.ms": "10",
                        "max.partition.fetch.bytes": str(FETCH_BYTES),
                        "key.deserializer": bytes_only,
                        "value.deserializer": bytes_only,
                    }
                )
            )
        return self._consumer_client

    def _properties(self, more: Mapping[str, str]) -> Any:
        properties = self._jvm.java.util.Properties()
        for name, value in {**client_options(self._kafka), **more}.items():
            properties.setProperty(name, value)
        return properties

    def _list(self, values: Iterable[Any]) -> Any:
        found = self._jvm.java.util.ArrayList()
        for value in values:
            found.add(value)
        return found


def _reason(error: Py4JJavaError) -> str:
    """Class and first line of what the client said; an ExecutionException only wraps it."""
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    lines = str(cause.getMessage() or "").splitlines() or [""]
    return f"{cause.getClass().getSimpleName()} {lines[0][:200]}".strip()
