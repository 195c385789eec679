"""Kafka's own clients in the driver's JVM: they log in as Spark's source does; failures are named."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.sql import SparkSession

from medallion_contracts.errors import ServiceUnavailable
from medallion_spark.stream.last_records import Partition
from medallion_spark.stream.source import READ_COMMITTED, KafkaAccess, client_options

_READER = {
    **READ_COMMITTED,
    "enable.auto.commit": "false",
    # One record is wanted.
    "max.poll.records": "1",
    "key.deserializer": "org.apache.kafka.common.serialization.ByteArrayDeserializer",
    "value.deserializer": "org.apache.kafka.common.serialization.ByteArrayDeserializer",
}


class KafkaClients:
    """An admin client, connected when it is first asked for, and consumers; for several threads.

    Args:
        spark: the session, whose JVM has the clients.
        kafka: the broker.
    """

    def __init__(self, spark: SparkSession, kafka: KafkaAccess) -> None:
        self._jvm: Any = spark._jvm
        self._kafka = kafka
        self._admin: Any = None
        self._lock = threading.Lock()

    @property
    def package(self) -> Any:
        """org.apache.kafka."""
        return self._jvm.org.apache.kafka

    @property
    def bootstrap(self) -> str:
        """Address of the broker, for messages."""
        return self._kafka.bootstrap

    @contextmanager
    def admin(self) -> Iterator[Any]:
        """The admin client, for one caller at a time.

        Raises:
            ServiceUnavailable: the broker does not answer.
        """
        with self.failures_named(), self._lock:
            if self._admin is None:
                self._admin = self.package.clients.admin.Admin.create(self._properties({}))
            yield self._admin

    def consumer(self, options: Mapping[str, str]) -> Any:
        """A new consumer of committed records, one at a time; the caller closes it.

        Args:
            options: what differs.
        """
        return self.package.clients.consumer.KafkaConsumer(self._properties({**_READER, **options}))

    def offsets(
        self, partitions: Iterable[Partition], which: str, *, committed: bool = False
    ) -> dict[Partition, int]:
        """Where partitions begin (`earliest`) or end (`latest`).

        Args:
            partitions: of any topics.
            which: as Kafka's OffsetSpec calls it.
            committed: the end that a reader of committed records sees.

        Raises:
            ServiceUnavailable: the broker does not answer.
        """
        levels, admin_package = self.package.common.IsolationLevel, self.package.clients.admin
        level = levels.READ_COMMITTED if committed else levels.READ_UNCOMMITTED
        spec = getattr(admin_package.OffsetSpec, which)()
        wanted = {where: self.partition(where) for where in partitions}
        request = self._jvm.java.util.HashMap()
        for partition in wanted.values():
            request.put(partition, spec)
        with self.admin() as admin:
            found = admin.listOffsets(request, admin_package.ListOffsetsOptions(level)).all().get()
            return {where: int(found.get(partition).offset()) for where, partition in wanted.items()}

    def partition(self, where: Partition) -> Any:
        """Kafka's TopicPartition."""
        return self.package.common.TopicPartition(*where)

    def list_of(self, values: Iterable[Any]) -> Any:
        """The values as Java's list."""
        found = self._jvm.java.util.ArrayList()
        for value in values:
            found.add(value)
        return found

    def duration(self, milliseconds: int) -> Any:
        """Java's Duration."""
        return self._jvm.java.time.Duration.ofMillis(milliseconds)

    @contextmanager
    def failures_named(self) -> Iterator[None]:
        """What the clients raise in the block becomes a ServiceUnavailable that names broker and reason."""
        try:
            yield
        except Py4JJavaError as error:
            raise ServiceUnavailable(
                f"the broker at {self.bootstrap} (MEDALLION_KAFKA_BOOTSTRAP) does not answer "
                f"({reason_of(error)}): check that it runs and lets this login in"
            ) from error
        except Py4JError as error:
            raise ServiceUnavailable("the driver's JVM does not answer") from error

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            if self._admin is not None:
                self._admin.close(self.duration(0))
                self._admin = None

    def _properties(self, options: Mapping[str, str]) -> Any:
        properties = self._jvm.java.util.Properties()
        for name, value in {**client_options(self._kafka), **options}.items():
            properties.setProperty(name, value)
        return properties


def reason_of(error: Py4JJavaError) -> str:
    """Class and first line of what the client said; an ExecutionException only wraps it."""
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    lines = str(cause.getMessage() or "").splitlines() or [""]
    return f"{cause.getClass().getSimpleName()} {lines[0][:200]}".strip()
