"""The whole query on a real broker: topics of a test's own, drivers in threads, what they left behind."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewPartitions, NewTopic
from pyspark.sql import SparkSession

from kafka_log import event
from medallion_contracts.loader import load_dataset
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.query import Stream
from medallion_spark.stream.source import KafkaAccess
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths

PATIENCE_SECONDS = 240


class Topics:
    """Two topics of the test's own, and producers for them.

    Args:
        broker: its address.
        partitions: of each topic.
        config: of the main topic; the broker's clock stamps records unless it says otherwise.
    """

    def __init__(self, broker: str, *, partitions: int = 2, config: Mapping[str, str] | None = None) -> None:
        mark = uuid.uuid4().hex[:8]
        self.broker = broker
        self.dataset = replace(
            load_dataset("customers"), topic=f"customers-{mark}", replay_topic=f"replay-{mark}"
        )
        self.admin = KafkaAdminClient(bootstrap_servers=broker)
        log_append = {"message.timestamp.type": "LogAppendTime"}
        self.admin.create_topics(
            [
                NewTopic(self.dataset.topic, partitions, 1, topic_configs={**log_append, **(config or {})}),
                NewTopic(self.dataset.replay_topic, partitions, 1, topic_configs=log_append),
            ]
        )
        self._producer = self._new_producer()

    def _new_producer(self, **options: Any) -> Any:
        return KafkaProducer(bootstrap_servers=self.broker, acks="all", **options)

    @property
    def names(self) -> tuple[str, str]:
        """The main topic and the one for replays."""
        return self.dataset.topic, self.dataset.replay_topic

    def send(
        self, count: int, name: str, *, replayed: bool = False, producer: Any = None, **where: Any
    ) -> None:
        """Good events of as many customers, dated now; `where` may name a partition and a time."""
        now = datetime.now(UTC) - timedelta(seconds=10)
        by = producer or self._producer
        for number in range(count):
            customer = f"{name}{number}"
            value = json.dumps(event(customer, updated_at=now.isoformat())).encode()
            by.send(self.names[replayed], key=customer.encode(), value=value, **where)
        by.flush()

    @contextmanager
    def transaction(self, *, aborted: bool = False) -> Iterator[Any]:
        """A producer in a transaction that ends with the block."""
        producer = self._new_producer(transactional_id=uuid.uuid4().hex)
        producer.init_transactions()
        producer.begin_transaction()
        try:
            yield producer
            if aborted:
                producer.abort_transaction()
            else:
                producer.commit_transaction()
        finally:
            producer.close()

    def forget(self, until: int, partition: int = 0) -> None:
        """Let all records before an offset expire."""
        where = TopicPartition(self.dataset.topic, partition)
        self.admin.delete_records({where: until})

    def make_again(self, *, replayed: bool = False) -> None:
        """Delete a topic and create it under its name: another log."""
        name = self.names[replayed]
        self.admin.delete_topics([name])
        wait_for(lambda: name not in self.admin.list_topics())
        log_append = {"message.timestamp.type": "LogAppendTime"}
        self.admin.create_topics([NewTopic(name, 2, 1, topic_configs=log_append)])
        self._producer.close()
        self._producer = self._new_producer()

    def grow(self, partitions: int) -> None:
        """Add partitions to the main topic."""
        self.admin.create_partitions({self.dataset.topic: NewPartitions(total_count=partitions)})
        wait_for(lambda: len(self._new_producer().partitions_for(self.dataset.topic) or ()) == partitions)
        self._producer = self._new_producer()  # the one there does not ask for new ones at once


def stream(spark: SparkSession, topics: Topics, paths: LakePaths, **options: Any) -> Stream:
    """A driver for the topics."""
    return Stream(
        spark,
        topics.dataset,
        LakeAccess(paths.root),
        KafkaAccess(topics.broker),
        StreamOptions(**{"trigger_seconds": 0.5, "submission": "token", **options}),
    )


@contextmanager
def running(driver: Stream, paths: LakePaths) -> Iterator[None]:
    """The driver in a thread of its own, ended by a stop request."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            driver.run()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        FolderFiles().write(paths.stop_request, {"by": "test"})
        thread.join(PATIENCE_SECONDS)
        FolderFiles().delete(paths.stop_request)
    assert not thread.is_alive()
    assert errors == []


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.3)


def ledger(paths: LakePaths) -> list[dict[str, Any]]:
    """The ledger's rows in order."""
    if not Path(paths.ledger, "_delta_log").exists():
        return []
    rows: list[dict[str, Any]] = DeltaTable(paths.ledger).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: row["sequence"])


def totals(paths: LakePaths) -> dict[str, int]:
    """Sums over the ledger's rows."""
    names = ("read", "silver", "gaps", "lost", "compacted")
    return {name: sum(row[name] for row in ledger(paths)) for name in names}


def read(paths: LakePaths) -> int:
    """How many records the ledger has."""
    return sum(row["read"] for row in ledger(paths))
