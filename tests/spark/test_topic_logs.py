"""Logs as real brokers have them: transactions, compaction, retention, producers' clocks, new partitions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from kafka_log import TestLake
from medallion_contracts.errors import RecordsLost, StreamError
from medallion_spark.stream import topic_watch
from medallion_spark.stream.ledger import Ledger
from medallion_spark.stream.query import Stream
from medallion_spark.stream.source import READ_COMMITTED, RECORD_COLUMNS, KafkaAccess
from medallion_spark.stream.topic_log import BrokerLog
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths
from stream_runs import Topics, ledger, read, running, stream, totals, wait_for


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(str(tmp_path / "lake"), "customers")


@pytest.fixture
def log(spark: SparkSession, broker: str) -> Iterator[BrokerLog]:
    found = BrokerLog(spark, KafkaAccess(broker))
    yield found
    found.close()


def customers(paths: LakePaths) -> set[str]:
    names: list[str] = (
        DeltaTable(paths.silver).to_pyarrow_table(columns=["customer_id"])["customer_id"].to_pylist()
    )
    assert len(set(names)) == len(names), "twice in silver"
    return set(names)


def named(prefix: str, count: int) -> set[str]:
    return {f"{prefix}{number}" for number in range(count)}


class BrokerLake(TestLake):
    """A lake whose micro-batches are read from a real topic of one partition, as Spark's source does."""

    def __init__(
        self, spark: SparkSession, folder: Path, topics: Topics, log: BrokerLog, **options: Any
    ) -> None:
        self.topics = topics
        super().__init__(spark, folder, topics.dataset, topic_log=log, **options)

    def carry(self, start: int, stop: int, *, fail: bool = False) -> Any:
        """The next micro-batch, planned from one offset up to another."""
        topic = self.topics.dataset.topic
        reader = self.spark.read.format("kafka").option("kafka.bootstrap.servers", self.topics.broker)
        for name, value in READ_COMMITTED.items():
            reader = reader.option(f"kafka.{name}", value)
        records = (
            reader.option("subscribe", topic)
            .option("startingOffsets", f'{{"{topic}": {{"0": {start}}}}}')
            .option("endingOffsets", f'{{"{topic}": {{"0": {stop}}}}}')
            .option("failOnDataLoss", str(fail).lower())
            .option("includeHeaders", "true")
            .load()
            .select(*RECORD_COLUMNS)
        )
        self.planned = {(topic, 0): range(start, stop)}
        self.clock = datetime.now(UTC)
        row = self.batches.process(records, self.next_batch)
        self.next_batch += 1
        return row


@pytest.fixture
def committed(spark: SparkSession, lake: TestLake, broker: str, log: BrokerLog) -> BrokerLake:
    """An empty topic of one partition, and an empty lake for it."""
    return BrokerLake(spark, Path(lake.paths.root), Topics(broker, partitions=1), log)


def counts(row: Any) -> tuple[int, int, int, int]:
    return row.read, row.gaps, row.lost, row.compacted


def test_aborted_records_and_markers_are_gaps_never_lost(committed: BrokerLake) -> None:
    topics = committed.topics
    topics.send(2, "a")
    with topics.transaction(aborted=True) as producer:
        topics.send(3, "aborted", producer=producer)
    with topics.transaction() as producer:
        topics.send(2, "b", producer=producer)
    assert counts(committed.carry(0, 9)) == (4, 5, 0, 0), "three aborted, two markers"
    with topics.transaction(aborted=True) as producer:
        topics.send(2, "aborted", producer=producer)
    assert counts(committed.carry(9, 12)) == (0, 3, 0, 0), "a batch without any record"
    topics.send(1, "c")
    topics.forget(12)
    committed.restart(on_data_loss="count")
    assert counts(committed.carry(12, 13)) == (1, 0, 0, 0), "what was passed before it expired is not lost"
    assert {row["_offset"] for row in committed.rows("silver")} == {0, 1, 6, 7, 12}
    committed.check()


def test_a_checkpoint_ahead_of_the_ledger_stops_the_stream(committed: BrokerLake) -> None:
    committed.topics.send(10, "a")
    committed.carry(0, 4)
    with pytest.raises(
        StreamError, match=r"offsets 4 to 6 were not read.*record at 4.*--recover-from-ledger"
    ):
        committed.carry(7, 10)
    assert len(committed.rows("bronze")) == 4, "nothing was written"
    committed.topics.forget(5)
    with pytest.raises(StreamError, match="record at 5"):
        committed.carry(7, 10)
    committed.restart(on_data_loss="count")
    assert counts(committed.carry(4, 10)) == (5, 0, 1, 0)


def test_what_compaction_removed_is_counted_as_compacted(
    spark: SparkSession, lake: TestLake, broker: str, log: BrokerLog
) -> None:
    soon = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "100"}
    topics = Topics(broker, partitions=1, config={"cleanup.policy": "compact", **soon})
    for _ in range(3):
        topics.send(4, "a")
        time.sleep(0.2)
    topics.send(1, "b")  # another segment: only closed ones are compacted
    where = topics.dataset.topic, 0
    wait_for(lambda: log.first_record(where, range(4)) is None)
    compacted = BrokerLake(spark, Path(lake.paths.root), topics, log)
    row = compacted.carry(0, 13)
    assert row.compacted == 13 - row.read > 0
    assert (row.gaps, row.lost) == (0, 0)


def held_back(topics: Topics, driver: Stream) -> bool:
    return f"{topics.dataset.topic}-0" in driver._topic_watch.content()["held_back"]


def test_an_open_transaction_makes_lag_that_says_why(
    spark: SparkSession,
    broker: str,
    paths: LakePaths,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(topic_watch, "LOOK_SECONDS", 0.3)
    topics = Topics(broker, config={"retention.ms": "3600000"})
    with topics.transaction(aborted=True) as producer:
        topics.send(2, "aborted", producer=producer, partition=0)
    with topics.transaction() as producer, caplog.at_level(logging.WARNING):
        topics.send(1, "open", producer=producer, partition=0)
        topics.send(2, "behind", partition=0)
        driver = stream(spark, topics, paths)
        with running(driver, paths):
            wait_for(lambda: held_back(topics, driver))
            topics.send(2, "beside", partition=1)
            wait_for(lambda: read(paths) == 2)
            wait_for(lambda: len(DeltaTable(paths.progress).file_uris()) > 0)
            wait_for(lambda: "a transaction is open since offset 3" in caplog.text)
    assert customers(paths) == named("beside", 2)
    assert totals(paths)["gaps"] == 3, "the aborted transaction, and its marker"
    heartbeat = FolderFiles().read(paths.heartbeat) or {}
    held = {"last_stable_offset": 3, "end_offset": 6}
    assert heartbeat["held_back"] == {f"{topics.dataset.topic}-0": held}
    assert any("keeps records for 1:00:00 only" in warning for warning in heartbeat["warnings"])
    assert "keeps records for 1:00:00 only" in caplog.text
    progress = DeltaTable(paths.progress).to_pyarrow_table().to_pylist()[-1]
    assert progress["last_stable_offsets"] == [(f"{topics.dataset.topic}-0", 3)]
    assert progress["lag_records"] >= progress["held_back"] == 3
    with running(driver := stream(spark, topics, paths), paths):
        wait_for(lambda: read(paths) == 5)
        wait_for(lambda: not driver._topic_watch.held_back)
    assert customers(paths) == named("beside", 2) | named("open", 1) | named("behind", 2)
    assert (totals(paths)["gaps"], totals(paths)["lost"]) == (4, 0)


def test_what_retention_took_from_a_stopped_stream_is_lost_by_its_true_number(
    spark: SparkSession, broker: str, paths: LakePaths
) -> None:
    topics = Topics(broker, partitions=1)
    topics.send(5, "a")
    with running(stream(spark, topics, paths), paths):
        wait_for(lambda: read(paths) == 5)
    topics.send(10, "b")
    topics.forget(12)
    topics.grow(2)
    topics.send(6, "c", partition=1)
    topics.forget(4, partition=1)
    first, second = (rf"{topics.dataset.topic}-{number}" for number in range(2))
    gone = rf"offsets 5 to 11 of {first} are gone \(7\); offsets 0 to 3 of {second} are gone \(4\)"
    with pytest.raises(RecordsLost, match=gone):
        stream(spark, topics, paths).run()
    with running(stream(spark, topics, paths, on_data_loss="count"), paths):
        wait_for(lambda: read(paths) == 5 + 3 + 2)
    assert totals(paths) == {"read": 10, "silver": 10, "gaps": 0, "lost": 11, "compacted": 0}


def test_a_batch_that_is_there_needs_no_record_of_kafka_any_more(
    spark: SparkSession, broker: str, paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise InterruptedError("the end of the driver")

    topics = Topics(broker, partitions=1)
    topics.send(5, "a")
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", die)
        with pytest.raises(StreamError, match="the end of the driver"):
            stream(spark, topics, paths).run()
    assert ledger(paths) == []
    topics.forget(5)
    with running(stream(spark, topics, paths), paths):
        wait_for(lambda: read(paths) == 5)
    assert [(row["is_derived"], row["lost"]) for row in ledger(paths)] == [(True, 0)]
    for commit in Path(paths.checkpoint, "commits").iterdir():
        commit.unlink()  # the driver died before Spark had noted that the batch is done
    topics.send(1, "b")
    with running(stream(spark, topics, paths), paths):
        wait_for(lambda: read(paths) == 6)
    assert totals(paths)["lost"] == 0
    assert customers(paths) == named("a", 5) | named("b", 1)


LARGEST = 9_223_372_036_854_775
"""Milliseconds since 1970: the last that fits Spark's timestamps."""


def test_a_producers_clock_stops_nothing_until_spark_cannot_read_it(
    spark: SparkSession, broker: str, paths: LakePaths
) -> None:
    config = {
        "message.timestamp.type": "CreateTime",
        "message.timestamp.after.max.ms": str(2**63 - 1),
        "retention.ms": "-1",  # the broker itself goes by these times
    }
    topics = Topics(broker, partitions=1, config=config)
    for number, milliseconds in enumerate((0, -1, 1_793_534_400, 4_102_444_800_000, LARGEST)):
        topics.send(1, f"a{number}-", timestamp_ms=milliseconds)
    with running(stream(spark, topics, paths), paths):
        wait_for(lambda: read(paths) == 5)
    assert totals(paths)["silver"] == 5
    assert [row["event_to_silver_max"] for row in ledger(paths)] == [None] * len(ledger(paths))
    topics.send(1, "b", timestamp_ms=LARGEST + 1)
    topics.send(1, "c")
    named_record = rf"offset 5 of {topics.dataset.topic}-0 has the time {LARGEST + 1}.*before offset 6"
    with pytest.raises(StreamError, match=named_record):
        stream(spark, topics, paths).run()
    topics.forget(6)
    with running(stream(spark, topics, paths, on_data_loss="count"), paths):
        wait_for(lambda: read(paths) == 6)
    assert totals(paths)["lost"] == 1
