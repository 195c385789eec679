"""What the broker says of the topics' logs: where they begin and end, what it serves, what it keeps."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from medallion_contracts.errors import ServiceUnavailable
from medallion_spark.stream.kafka_clients import KafkaClients
from medallion_spark.stream.source import KafkaAccess

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
        self._clients = KafkaClients(spark, kafka)
        self._consumer_client: Any = None

    def starts(self, topic: str) -> dict[int, int]:
        """See TopicLog."""
        found = self._clients.offsets(self._partitions([topic]), "earliest")
        return {partition: offset for (_, partition), offset in found.items()}

    def held_back(self, topics: Iterable[str]) -> dict[Where, HeldBack]:
        """The partitions in which an open transaction keeps records from being read."""
        partitions = self._partitions(topics)
        # In this order: what is written in between is not taken for held back.
        ends = self._clients.offsets(partitions, "latest")
        stable = self._clients.offsets(partitions, "latest", committed=True)
        return {where: HeldBack(stable[where], end) for where, end in ends.items() if stable[where] < end}

    def retention(self, topic: str) -> Retention | None:
        """What the topic keeps; None where the broker does not say."""
        resource_class = self._clients.package.common.config.ConfigResource
        resource = resource_class(resource_class.Type.TOPIC, topic)
        try:
            with self._clients.admin() as admin:
                config = admin.describeConfigs(self._clients.list_of([resource])).all().get().get(resource)
                values = {
                    name: str(config.get(name).value())
                    for name in ("cleanup.policy", "retention.ms", "retention.bytes")
                    if config.get(name) is not None
                }
        except ServiceUnavailable as error:
            logger.warning("what the broker keeps of %s is not known: %s", topic, error)
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
        partition = self._clients.partition(where)
        with self._clients.failures_named():
            try:
                self._consumer.assign(self._clients.list_of([partition]))
                self._consumer.seek(partition, offsets.start)
                return self._pass_over(partition, offsets)
            except Py4JJavaError as error:
                if error.java_exception.getClass().getSimpleName() == "OffsetOutOfRangeException":
                    raise LogStartMoved from error
                raise

    def _pass_over(self, partition: Any, offsets: range) -> int | None:
        position, moved_at = offsets.start, time.monotonic()
        patience = self._clients.duration(POLL_MILLISECONDS)
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
                    f"the broker at {self._clients.bootstrap} (MEDALLION_KAFKA_BOOTSTRAP) serves nothing of "
                    f"{partition.toString()} from offset {position} on, although its log goes on: look at "
                    "the broker's state and its replicas"
                )
        return None

    def close(self) -> None:
        """End the connections."""
        if self._consumer_client is not None:
            self._consumer_client.close(self._clients.duration(0))
            self._consumer_client = None
        self._clients.close()

    def _partitions(self, topics: Iterable[str]) -> list[Where]:
        with self._clients.admin() as admin:
            described = admin.describeTopics(self._clients.list_of(topics)).allTopicNames().get()
            return [
                (str(topic.name()), int(info.partition()))
                for topic in described.values()
                for info in topic.partitions()
            ]

    @property
    def _consumer(self) -> Any:
        if self._consumer_client is None:
            self._consumer_client = self._clients.consumer(
                {
                    "auto.offset.reset": "none",
                    # Behind a marker at the log's end nothing comes: there is nothing to wait for.
                    "fetch.max.wait.ms": "10",
                    "max.partition.fetch.bytes": str(FETCH_BYTES),
                }
            )
        return self._consumer_client
