"""A topic that leads to another log than the one that was read: found, accepted, kept apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from medallion_ops.control import StreamControl
from medallion_spark.rebuild.rebuild import AS_JUDGED, Rebuild
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream import query
from medallion_spark.stream.log_reader import Description, LogReader
from medallion_spark.stream.log_watch import LogWatch
from medallion_spark.stream.options import StreamOptions
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths
from settings_of_tests import settings
from stream_runs import Topics, ledger, read, running, stream, wait_for


@pytest.fixture
def topics(broker: str) -> Topics:
    return Topics(broker)


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(str(tmp_path / "lake"), "customers")


def run_until(spark: SparkSession, topics: Topics, paths: LakePaths, records: int, **options: Any) -> None:
    """Run the stream until the ledger has so many records."""
    with running(stream(spark, topics, paths, **options), paths):
        wait_for(lambda: read(paths) >= records)
    assert read(paths) == records


def refusal(spark: SparkSession, topics: Topics, paths: LakePaths, **options: Any) -> str:
    """Start the stream; gives why it ended by itself, well, with nothing read."""
    before = ledger(paths)
    FolderFiles().delete(paths.failure)
    stream(spark, topics, paths, **options).run()
    assert ledger(paths) == before
    return str((FolderFiles().read(paths.failure) or {})["error"])


def accept(paths: LakePaths) -> None:
    StreamControl(settings(LAKE_URI=paths.root, LAKE_AUTH="none").lake, "customers").accept_log()


def coordinates(paths: LakePaths) -> list[tuple[str, int, int, int]]:
    rows = DeltaTable(paths.bronze).to_pyarrow_table().to_pylist()
    return [(row["topic"], row["partition"], row["offset"], row["_incarnation"]) for row in rows]


def customers(paths: LakePaths) -> list[str]:
    return sorted(
        DeltaTable(paths.silver).to_pyarrow_table(columns=["customer_id"])["customer_id"].to_pylist()
    )


def names(**counts: int) -> list[str]:
    return sorted(f"{name}{number}" for name, count in counts.items() for number in range(count))


def test_a_topic_that_was_made_again_is_read_from_its_beginning_once_that_is_accepted(
    spark: SparkSession, topics: Topics, paths: LakePaths
) -> None:
    topics.send(6, "a")
    topics.send(2, "r", replayed=True)
    run_until(spark, topics, paths, 8)
    log = ledger(paths)[-1]["logs"]
    assert [(one["topic"], one["incarnation"]) for one in log] == [
        (topics.dataset.topic, 0),
        (topics.dataset.replay_topic, 0),
    ]

    topics.make_again()
    topics.send(4, "expired", partition=0)
    topics.forget(4)  # what was gone when the log was accepted was never ours
    topics.send(20, "b")  # more than before: the old offsets exist
    assert "topic id" in refusal(spark, topics, paths)
    assert "accept-log customers" in refusal(spark, topics, paths), "also by `on-data-loss count`"
    accept(paths)
    run_until(spark, topics, paths, 28)
    assert not Path(paths.other_log).exists()
    assert not Path(paths.accept_log_request).exists()

    topics.make_again()
    topics.send(3, "c")  # fewer than before: the old offsets do not exist
    assert "topic id" in refusal(spark, topics, paths, on_data_loss="count")
    accept(paths)
    run_until(spark, topics, paths, 31, on_data_loss="count")

    topics.make_again(replayed=True)
    topics.send(1, "s", replayed=True)
    assert topics.dataset.replay_topic in refusal(spark, topics, paths)
    accept(paths)
    run_until(spark, topics, paths, 32)

    assert customers(paths) == names(a=6, r=2, b=20, c=3, s=1)
    assert len(set(coordinates(paths))) == len(coordinates(paths)) == 32
    rows = ledger(paths)
    assert sum(row["lost"] for row in rows) == sum(row["gaps"] for row in rows) == 0
    assert [row["lost_is_at_least"] for row in rows if row["read"] == 0] == [True] * 3


def test_an_acceptance_that_is_killed_halfway_is_gone_on_with(
    spark: SparkSession, topics: Topics, paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.send(6, "a")
    run_until(spark, topics, paths, 6)
    topics.make_again()
    topics.send(4, "b")
    refusal(spark, topics, paths)
    accept(paths)

    def die(*_: Any) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:  # the ledger knows the new log, the old checkpoint is there
        patch.setattr("medallion_spark.stream.startup.StartUp._set_aside", die)
        with pytest.raises(InterruptedError):
            stream(spark, topics, paths).run()
    run_until(spark, topics, paths, 10)
    assert customers(paths) == names(a=6, b=4)
    assert [row["read"] for row in ledger(paths) if row["lost_is_at_least"]] == [0], "accepted once"


def test_a_topic_made_again_while_an_idle_stream_runs_ends_it(
    spark: SparkSession, topics: Topics, paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "LOG_LOOK_SECONDS", 0.5)
    topics.send(6, "a")
    with running(stream(spark, topics, paths, on_data_loss="count"), paths):
        wait_for(lambda: read(paths) == 6)
        topics.make_again()
        wait_for(lambda: FolderFiles().read(paths.failure) is not None)
        topics.send(9, "b")
    assert "another log" in (FolderFiles().read(paths.failure) or {})["error"]
    assert (FolderFiles().read(paths.heartbeat) or {})["state"] == "ended", "no one asked it to stop"
    assert read(paths) == 6
    accept(paths)
    run_until(spark, topics, paths, 15)
    assert customers(paths) == names(a=6, b=9)


def test_a_topic_made_again_in_the_middle_of_a_batch_leaves_nothing_of_it(
    spark: SparkSession, topics: Topics, paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "LOG_LOOK_SECONDS", 3600)
    topics.send(6, "a")
    run_until(spark, topics, paths, 6)
    topics.send(5, "lost")
    confirm = LogWatch.confirm

    def make_again_first(watch: LogWatch, *arguments: Any) -> None:
        topics.make_again()
        confirm(watch, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LogWatch, "confirm", make_again_first)
        assert "topic id" in refusal(spark, topics, paths)
    assert len(coordinates(paths)) == 6
    topics.send(20, "b")
    refusal(spark, topics, paths)
    accept(paths)
    run_until(spark, topics, paths, 26)
    accepted = next(row for row in ledger(paths) if row["lost_is_at_least"])
    assert accepted["lost"] == 5, "the end of the old log had been seen"
    assert customers(paths) == names(a=6, b=20)


def as_of_an_earlier_release(paths: LakePaths) -> None:
    """The ledger without what identifies logs."""
    rows = DeltaTable(paths.ledger).to_pyarrow_table().drop_columns(["logs", "lost_is_at_least"]).to_pylist()
    ours = ("incarnation", "last_offset", "last_timestamp_ms", "last_hash", "end_offset")
    table = DeltaTable(paths.ledger).to_pyarrow_table().drop_columns(["logs", "lost_is_at_least"])
    for row in rows:
        row["sources"] = [{k: v for k, v in one.items() if k not in ours} for one in row["sources"]]
    old = table.schema
    index = old.get_field_index("sources")
    kept = [field for field in old.field(index).type.value_type if field.name not in ours]
    old = old.set(index, pa.field("sources", pa.list_(pa.struct(kept))))
    write_deltalake(paths.ledger, pa.Table.from_pylist(rows, old), mode="overwrite", schema_mode="overwrite")


@pytest.mark.parametrize(
    "is_known", [False, True], ids=["ledger of an earlier release", "broker without topic ids"]
)
def test_where_no_id_is_known_the_last_records_decide(
    spark: SparkSession, topics: Topics, paths: LakePaths, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    monkeypatch.setattr(query, "LOG_LOOK_SECONDS", 3600)
    describe = LogReader.describe

    def describe_without_ids(reader: LogReader, *arguments: Any) -> dict[str, Description]:
        found = describe(reader, *arguments)
        return {name: replace(one, id=replace(one.id, topic_id=None)) for name, one in found.items()}

    if is_known:  # as Event Hubs answers
        monkeypatch.setattr(LogReader, "describe", describe_without_ids)
    topics.send(6, "a")
    run_until(spark, topics, paths, 6)
    if not is_known:
        as_of_an_earlier_release(paths)
    topics.send(4, "b")
    run_until(spark, topics, paths, 10)
    assert (ledger(paths)[-1]["logs"][0]["topic_id"] is None) == is_known
    if not is_known:
        as_of_an_earlier_release(paths)
    topics.make_again()
    topics.send(20, "c")
    assert "another log" in refusal(spark, topics, paths)
    accept(paths)
    run_until(spark, topics, paths, 30)
    assert customers(paths) == names(a=6, b=4, c=20)


def lose_newest_commits(*tables: str, count: int = 1) -> None:
    for table in tables:
        for commit in sorted(Path(table, "_delta_log").glob("*.json"))[-count:]:
            commit.unlink()


def test_a_checkpoint_ahead_of_the_lake_stops_the_stream_and_a_recovery_reads_what_is_missing(
    spark: SparkSession, topics: Topics, paths: LakePaths
) -> None:
    topics.send(6, "a")
    run_until(spark, topics, paths, 6)
    topics.send(5, "b")
    run_until(spark, topics, paths, 11)
    lose_newest_commits(paths.ledger, paths.bronze, paths.silver)  # a copy of the lake, a moment older
    assert "ahead of the ledger" in refusal(spark, topics, paths)
    run_until(spark, topics, paths, 11, recover_from_ledger=True)
    assert customers(paths) == names(a=6, b=5)
    rows = ledger(paths)
    assert sum(row["lost"] for row in rows) == sum(row["gaps"] for row in rows) == 0


def test_a_ledger_that_lost_its_newest_row_is_completed(
    spark: SparkSession, topics: Topics, paths: LakePaths
) -> None:
    topics.send(6, "a")
    run_until(spark, topics, paths, 6)
    topics.send(5, "b")
    run_until(spark, topics, paths, 11)
    newest = sorted(Path(paths.ledger, "_delta_log").glob("*.json"))[-1]
    newest.write_bytes(b"")  # as a power cut leaves it
    assert "the ledger does not have it" in refusal(spark, topics, paths)
    topics.send(2, "c")
    run_until(spark, topics, paths, 13, recover_from_ledger=True)
    assert customers(paths) == names(a=6, b=5, c=2)
    assert len(set(coordinates(paths))) == 13


@pytest.mark.full
def test_records_that_bronze_lost_are_read_again_after_a_rebuild(
    spark: SparkSession, topics: Topics, paths: LakePaths
) -> None:
    topics.send(6, "a")
    run_until(spark, topics, paths, 6)
    topics.send(5, "b")
    run_until(spark, topics, paths, 11)
    lose_newest_commits(paths.bronze)
    assert "newest commits are gone" in refusal(spark, topics, paths)
    assert "customers_rebuild" in refusal(spark, topics, paths, recover_from_ledger=True), "silver is ahead"
    Rebuild(spark, topics.dataset, LakeAccess(paths.root), StreamOptions(), "run").run(AS_JUDGED)
    run_until(spark, topics, paths, 11, recover_from_ledger=True)
    assert customers(paths) == names(a=6, b=5)
    assert len(set(coordinates(paths))) == 11
