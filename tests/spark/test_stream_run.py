"""The whole query on a real broker: restart, stop request, idleness, failures, heartbeat."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from pyspark.sql import SparkSession

from kafka_log import event
from medallion_contracts.errors import LeaseError, StreamError
from medallion_contracts.loader import load_dataset
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream import query
from medallion_spark.stream.batch import MicroBatches
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.query import Stream
from medallion_spark.stream.source import KafkaAccess, earliest_offsets
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths
from medallion_store.lease import Lease, lease_holder

PATIENCE_SECONDS = 240


class Topics:
    """Two topics of the test's own, and a producer."""

    def __init__(self, broker: str) -> None:
        mark = uuid.uuid4().hex[:8]
        self.broker = broker
        self.dataset = replace(
            load_dataset("customers"), topic=f"customers-{mark}", replay_topic=f"replay-{mark}"
        )
        log_append = {"message.timestamp.type": "LogAppendTime"}
        KafkaAdminClient(bootstrap_servers=broker).create_topics(
            [NewTopic(topic, 2, 1, topic_configs=log_append) for topic in self._names]
        )
        self._producer = KafkaProducer(bootstrap_servers=broker, acks="all")

    @property
    def _names(self) -> tuple[str, str]:
        return self.dataset.topic, self.dataset.replay_topic

    def send(self, count: int, name: str, *, replayed: bool = False) -> None:
        """Good events of as many customers, dated now."""
        now = datetime.now(UTC) - timedelta(seconds=10)
        for number in range(count):
            customer = f"{name}{number}"
            value = json.dumps(event(customer, updated_at=now.isoformat())).encode()
            self._producer.send(self._names[replayed], key=customer.encode(), value=value)
        self._producer.flush()


@pytest.fixture
def topics(broker: str) -> Topics:
    return Topics(broker)


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(str(tmp_path / "lake"), "customers")


def stream(spark: SparkSession, topics: Topics, paths: LakePaths, **options: Any) -> Stream:
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
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.3)


def ledger(paths: LakePaths) -> list[dict[str, Any]]:
    if not Path(paths.ledger, "_delta_log").exists():
        return []
    rows: list[dict[str, Any]] = DeltaTable(paths.ledger).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: row["sequence"])


def read(paths: LakePaths) -> int:
    return sum(row["read"] for row in ledger(paths))


def files(paths: LakePaths) -> set[str]:
    """Names of all files but those that are rewritten in place."""
    rewritten = {Path(paths.heartbeat).name, Path(paths.lease).name}
    return {
        str(path)
        for path in Path(paths.root).rglob("*")
        if path.name not in rewritten and not path.name.endswith(".tmp")
    }


def test_from_kafka_to_the_lake_over_a_restart(spark: SparkSession, topics: Topics, paths: LakePaths) -> None:
    topics.send(40, "a")
    with running(stream(spark, topics, paths), paths):
        wait_for(lambda: read(paths) == 40)
        heartbeat = FolderFiles().read(paths.heartbeat) or {}
        assert heartbeat["submission"] == "token"
        wait_for(lambda: len(DeltaTable(paths.progress).file_uris()) > 0)
        before = files(paths)
        time.sleep(3)
        assert files(paths) == before, "idle triggers write no file"
    assert lease_holder(FolderFiles().read(paths.lease)) is None, "the lease is given back"
    topics.send(25, "b")
    topics.send(5, "a", replayed=True)
    with running(stream(spark, topics, paths), paths):
        wait_for(lambda: read(paths) == 70)
    rows = ledger(paths)
    assert len({row["query_id"] for row in rows}) == 1
    assert [row["batch_id"] for row in rows] == list(range(len(rows)))
    assert (sum(row["gaps"] for row in rows), sum(row["lost"] for row in rows)) == (0, 0)
    silver = DeltaTable(paths.silver).to_pyarrow_table(columns=["customer_id", "_topic"]).to_pylist()
    assert sorted(row["customer_id"] for row in silver if row["_topic"] == topics.dataset.topic) == sorted(
        [*(f"a{n}" for n in range(40)), *(f"b{n}" for n in range(25))]
    )
    assert earliest_offsets(spark, KafkaAccess(topics.broker), topics.dataset.topic) == {0: 0, 1: 0}


def test_a_stop_request_that_is_there_already_starts_nothing(
    spark: SparkSession, topics: Topics, paths: LakePaths
) -> None:
    FolderFiles().write(paths.stop_request, {})
    stream(spark, topics, paths).run()
    assert not Path(paths.checkpoint).exists()


def test_another_holder_of_silver_keeps_the_stream_out(
    spark: SparkSession, topics: Topics, paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "STALE_STREAM_SECONDS", -5)
    Lease(FolderFiles(), paths.lease, "rebuild").acquire()
    with pytest.raises(LeaseError, match="rebuild:"):
        stream(spark, topics, paths).run()
    assert not Path(paths.bronze).exists()


def fail_until_reported(
    spark: SparkSession, topics: Topics, paths: LakePaths, error: type[Exception], match: str
) -> None:
    """Start the stream three times: it raises twice, and the third time it leaves a failure and returns."""
    for _ in range(2):
        with pytest.raises(error, match=match):
            stream(spark, topics, paths).run()
        assert FolderFiles().read(paths.failure) is None
    stream(spark, topics, paths).run()  # returns: the driver exits 0 and is not started again


def test_a_driver_that_fails_to_start_three_times_is_reported_and_not_repeated(
    spark: SparkSession, topics: Topics, paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("chmod is missing")

    monkeypatch.setattr(Stream, "_start", fail)
    fail_until_reported(spark, topics, paths, OSError, "chmod")
    assert (FolderFiles().read(paths.failure) or {})["error"] == "OSError: chmod is missing"


def test_a_batch_that_fails_three_times_is_reported_and_not_repeated(
    spark: SparkSession, topics: Topics, paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("disk on fire\ncustomer 7590-VHVEG")

    topics.send(3, "a")
    with monkeypatch.context() as patch:
        patch.setattr(MicroBatches, "process", fail)
        fail_until_reported(spark, topics, paths, StreamError, "disk on fire")
    failure = FolderFiles().read(paths.failure) or {}
    assert (failure["batch_id"], failure["attempts"]) == (0, 3)
    assert failure["error"] == "ValueError: disk on fire", "no record's content"
    with running(stream(spark, topics, paths), paths):
        wait_for(lambda: read(paths) == 3)
