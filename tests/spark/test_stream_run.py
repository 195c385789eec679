"""The whole query on a real broker: restart, stop request, idleness, failures, heartbeat."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from medallion_contracts.errors import LeaseError, StreamError
from medallion_spark.stream import query
from medallion_spark.stream.batch import MicroBatches
from medallion_spark.stream.query import Stream
from medallion_spark.stream.source import KafkaAccess
from medallion_spark.stream.topic_log import BrokerLog
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths
from medallion_store.lease import Lease, lease_holder
from medallion_store.stream_failure import failure_of
from stream_runs import Topics, ledger, read, running, stream, wait_for


@pytest.fixture
def topics(broker: str) -> Topics:
    return Topics(broker)


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(str(tmp_path / "lake"), "customers")


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
    assert BrokerLog(spark, KafkaAccess(topics.broker)).starts(topics.dataset.topic) == {0: 0, 1: 0}


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

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "_start", fail)
        fail_until_reported(spark, topics, paths, OSError, "chmod")
    assert (FolderFiles().read(paths.failure) or {})["error"] == "OSError: chmod is missing"
    monkeypatch.setattr(query, "QUIET_SECONDS", 0)
    with running(stream(spark, topics, paths), paths):  # there is nothing to read
        wait_for(lambda: not is_failed(paths))


def is_failed(paths: LakePaths) -> bool:
    failure = failure_of(FolderFiles().read(paths.failure))
    return failure is not None and failure.is_standing


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
    assert is_failed(paths)
    with running(stream(spark, topics, paths), paths):
        wait_for(lambda: read(paths) == 3)
        wait_for(lambda: not is_failed(paths))
