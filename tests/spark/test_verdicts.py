"""What becomes of a record: lateness, repeats, and that neither batches nor restarts matter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from kafka_log import NOON, Record, TestLake, event, frame_of, log_of
from medallion_contracts.errors import BalanceError
from medallion_contracts.loader import load_dataset
from medallion_spark.verdicts.parse import Lateness, parse_records
from verdict_model import verdicts_of

DATASET = load_dataset("customers")


def offsets(lake: TestLake) -> dict[int, str]:
    """Verdicts of partition 0 of the main topic by offset; a rejection by its reasons."""
    return {
        offset: "+".join(reasons) or verdict
        for (topic, partition, offset), (verdict, reasons) in lake.verdicts().items()
        if (topic, partition) == ("customers", 0)
    }


def test_an_event_is_late_by_the_newest_one_before_it_in_its_partition(lake: TestLake) -> None:
    minutes = [0, 30, 20, 19.9, 31, 21]
    lake.send(log_of([event(f"c{number}", minute) for number, minute in enumerate(minutes)]))
    assert offsets(lake) == {0: "silver", 1: "silver", 2: "silver", 3: "late", 4: "silver", 5: "silver"}
    lake.send(log_of([event("d0", 20.9), event("d1", 21)], first_offset=6), batch_id=1)
    assert offsets(lake)[6] == "late", "the watermark is carried from batch to batch"
    assert offsets(lake)[7] == "silver"
    lake.restart()
    lake.send(log_of([event("e0", 20.9), event("e1", 21)], first_offset=8), batch_id=2)
    assert (offsets(lake)[8], offsets(lake)[9]) == ("late", "silver"), "and over a restart"
    lake.check()


def test_only_events_that_count_move_the_watermark(lake: TestLake) -> None:
    future = event("c1", 60 * 24 * 3)
    wrong_otherwise = event("c2", 40, tenure="three")
    lake.send(
        log_of([event("c0", 0), future, event("c3", 0), wrong_otherwise, event("c4", 29)])
        + log_of([event("r0", 500), event("r1", 0)], topic="customers_replay")
        + log_of([event("p0", -300)], partition=1)
    )
    assert offsets(lake) == {0: "silver", 1: "future", 2: "silver", 3: "type:tenure", 4: "late"}
    verdicts = lake.verdicts()
    assert verdicts["customers_replay", 0, 1] == ("silver", ()), "replayed records are not tested"
    assert verdicts["customers", 1, 0] == ("silver", ()), "each partition has a watermark of its own"


def test_history_is_loaded_without_the_test_of_lateness(lake: TestLake) -> None:
    lake.restart(lateness="accept")
    lake.send(log_of([event("c0", 60 * minute) for minute in (0, -24 * 365, 1)]))
    assert offsets(lake) == {0: "silver", 1: "silver", 2: "silver"}


def test_repeats_within_a_batch_and_of_silver(lake: TestLake) -> None:
    again, other = event("c1", 1), event("c1", 1, tenure=4)
    same_written_otherwise = event("c1", 1, monthly_charges="29.850000"[:5], gender=" FEMALE ")
    lake.send(log_of([event("c1", 1), again, other, event("c1", 2), same_written_otherwise]))
    expected = {0: "silver", 1: "duplicate", 2: "conflict", 3: "silver", 4: "duplicate"}
    assert offsets(lake) == expected
    row = lake.send(log_of([again, other, event("c1", 2), event("c1", 3)], first_offset=5))
    assert row is not None
    assert (row.silver, row.duplicate, row.rejected_by_reason) == (1, 2, {"conflict": 1})
    assert offsets(lake) == {**expected, 5: "duplicate", 6: "conflict", 7: "duplicate", 8: "silver"}
    lake.check()


def test_a_whole_range_delivered_again_is_all_duplicates(lake: TestLake) -> None:
    log = [event(f"c{number % 40}", number / 60) for number in range(600)]
    lake.send(log_of(log))
    row = lake.send(log_of(log, first_offset=600))
    assert row is not None
    assert (row.read, row.duplicate) == (600, 600)
    assert [commit["table"] for commit in row.commits] == ["bronze"], "nothing else is written"
    lake.check()


def test_the_newest_version_of_each_batch_can_be_kept_alone(lake: TestLake) -> None:
    lake.restart(deduplicate="latest")
    lake.send(log_of([event("c1", 1), event("c1", 3), event("c1", 2), event("c2", 1)]))
    assert offsets(lake) == {0: "duplicate", 1: "silver", 2: "duplicate", 3: "silver"}
    lake.send(log_of([event("c1", 3), event("c1", 2)], first_offset=4))
    assert offsets(lake)[4] == "duplicate", "also of silver"
    lake.check()


def test_the_numbers_of_the_ledger(lake: TestLake) -> None:
    faulty = event("c3", 0, tenure=-1, gender="?")
    records = log_of([event("c1", 0), event("c2", 0, first=1, second=2), b"{", faulty])
    records[1] = Record(1, records[1].value, key=None)
    lake.send(records)
    # Offsets 4 and 5 held a transaction's marker; 6 is the next record.
    lake.send(log_of([event("c4", 1)], first_offset=6))
    first, second = sorted(lake.rows("ledger"), key=lambda row: row["sequence"])
    assert (first["read"], first["silver"], first["duplicate"], first["late"], first["rejected"]) == (
        4,
        2,
        0,
        0,
        2,
    )
    assert dict(first["rejected_by_reason"]) == {"malformed": 1, "value:tenure": 1, "value:gender": 1}
    assert dict(first["unknown_fields"]) == {"first": 1, "second": 1}
    assert (first["with_unknown_fields"], first["key_mismatch"]) == (1, 1)
    assert [(c["table"], c["rows"]) for c in first["commits"]] == [
        ("bronze", 4),
        ("silver", 2),
        ("quarantine", 2),
    ]
    assert (second["gaps"], second["lost"]) == (2, 0)
    source = second["sources"][0]
    assert (source["from_offset"], source["until_offset"], source["read"]) == (4, 7, 1)
    assert source["watermark"] == NOON + timedelta(minutes=1)


def test_offsets_the_broker_no_longer_has_are_lost_not_gaps(lake: TestLake) -> None:
    lake.restart(on_data_loss="count")
    lake.send(log_of([event("c1", 0)]))
    lake.log.first_kept = {0: 8}
    row = lake.send(log_of([event("c2", 0)], first_offset=10))
    assert row is not None
    assert (row.gaps, row.lost) == (2, 7)


def test_offsets_read_twice_stop_the_stream(lake: TestLake) -> None:
    lake.send(log_of([event("c1", 0), event("c2", 0)]))
    with pytest.raises(BalanceError, match="read twice"):
        lake.send(log_of([event("c3", 0)], first_offset=1))
    assert len(lake.rows("bronze")) == 2, "nothing was written"


def test_a_partition_that_is_split_over_tasks_is_refused_not_judged(
    spark: SparkSession, lake: TestLake
) -> None:
    records = frame_of(spark, log_of([event(f"c{number}", 0) for number in range(50)]))
    with pytest.raises(Exception, match=r"several tasks|order of offsets"):
        lake.batches.process(records.repartition(2), 0)
    merged = frame_of(spark, [*log_of([event()]), *log_of([event()], partition=1)]).coalesce(1)
    lateness = Lateness("customers", timedelta(minutes=10), {})
    with pytest.raises(Exception, match="order of offsets"):
        parse_records(merged, DATASET, clock=NOON, lateness=lateness).collect()


_RECORD_TIMES = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),  # -1: "no time"
    datetime(1970, 1, 21, 15, 40, tzinfo=UTC),  # seconds for milliseconds
    NOON + timedelta(days=1, minutes=-1),
    datetime(2100, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, tzinfo=UTC),
)


def test_a_producers_record_time_rejects_no_good_event(lake: TestLake) -> None:
    good = [event(f"c{number}", 60 * 24 - number) for number in range(len(_RECORD_TIMES))]
    records = [
        replace(record, timestamp=time, timestamp_type=0)
        for record, time in zip(log_of(good), _RECORD_TIMES, strict=True)
    ]
    row = lake.send(records)
    assert row is not None
    assert row.silver == len(good), "the batch's clock alone says what the future is"
    assert [row["timestamp"] for row in sorted(lake.rows("bronze"), key=lambda row: row["offset"])] == list(
        _RECORD_TIMES
    )
    assert {row["timestamp_type"] for row in lake.rows("bronze")} == {0}
    assert row.event_to_silver_p50 == row.event_to_silver_max == 60, "of the one time that can be true"
    ahead = event("d", 60 * 24 + 6)
    row = lake.send(
        log_of([ahead], first_offset=9, timestamp_type=0, timestamp=_RECORD_TIMES[-1])
        + log_of([ahead], first_offset=0, partition=1, timestamp_type=0, timestamp=_RECORD_TIMES[0])
    )
    assert row is not None
    assert row.rejected_by_reason == {"future": 2}
    assert row.event_to_silver_p50 is None
    early = log_of([event("e", 60 * 24)], partition=2, timestamp=lake.clock - timedelta(minutes=6))
    assert (lake.send(early) or row).rejected_by_reason == {"future": 1}, "the broker's own clock counts"


def test_unknown_fields_can_be_rejected(lake: TestLake) -> None:
    lake.restart(reject_unknown_fields=True)
    lake.send(log_of([event(), event("c2", 0, surprise=1)]))
    assert offsets(lake) == {0: "silver", 1: "unknown:surprise"}


# --- the same log gives the same verdicts, wherever batches are cut -----------------------------------------
_DEEDS: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 3), st.integers(-15, 15), st.integers(0, 1)),
    st.tuples(st.just("send"), st.integers(0, 3), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("break"), st.sampled_from([None, b"", b"{", b"\xff", b'{"customer_id": 1}'])),
    st.tuples(st.just("future"), st.integers(0, 3)),
)


def _log(partition: int, deeds: list[Any]) -> list[Record]:
    """A log whose clock goes on by three minutes a record, with jitter; customers are the partition's own."""
    values: list[Any] = []
    for number, (deed, *details) in enumerate(deeds):
        if deed == "break":
            values.append(details[0])
        elif deed == "future":
            values.append(event(f"{partition}/{details[0]}", 60 * 72))
        else:
            customer, jitter, variant = details
            # Few distinct minutes, so that keys repeat.
            minute = 6 * (number // 2) + jitter // 5 * 5
            values.append(event(f"{partition}/{customer}", minute, tenure=variant))
    return log_of(values, partition=partition, **_record_times(partition))


def _record_times(partition: int) -> dict[str, Any]:
    """The broker's time in one partition, in the others a producer's: right, behind and ahead."""
    if partition % 4 == 0:
        return {}
    times = (NOON, datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
    return {"timestamp_type": 0, "timestamp": times[partition % 4 - 1]}


@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_verdicts_do_not_depend_on_batches(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    # Each partition is a log of its own, so one run of Spark checks many.
    deeds = data.draw(st.lists(st.lists(_DEEDS, min_size=8, max_size=24), min_size=12, max_size=12))
    logs = [_log(partition, its) for partition, its in enumerate(deeds)]
    lake = _lake(spark, tmp_path_factory.mktemp("cuts"))
    expected = verdicts_of((record for log in logs for record in log), DATASET, clock=lake.clock)
    cuts = [sorted(data.draw(st.lists(st.integers(0, len(log)), min_size=2, max_size=2))) for log in logs]
    lake.send([record for log, (a, _) in zip(logs, cuts, strict=True) for record in log[:a]])
    lake.send([record for log, (a, b) in zip(logs, cuts, strict=True) for record in log[a:b]])
    lake.restart()
    lake.send([record for log, (_, b) in zip(logs, cuts, strict=True) for record in log[b:]])
    assert lake.verdicts() == expected
    lake.check()


def test_the_model_of_verdicts_is_not_blind() -> None:
    log = log_of([event("c1", 0), event("c1", 0), event("c1", 0, tenure=9), event("c2", 60), event("c3", 0)])
    found = verdicts_of(log, DATASET, clock=NOON + timedelta(days=1))
    assert [verdict for verdict, _ in found.values()] == ["silver", "duplicate", "rejected", "silver", "late"]


def _lake(spark: SparkSession, folder: Path) -> TestLake:
    return TestLake(spark, folder / "lake", DATASET)


def test_silver_holds_the_event_as_the_contract_types_it(lake: TestLake) -> None:
    sparse = {
        "customer_id": "c1",
        "updated_at": "2026-11-01T12:30:00+02:00",
        "monthly_charges": "2.5",
    }
    lake.send(log_of([sparse]))
    (row,) = lake.rows("silver")
    assert (row["year"], row["month"], row["day"], row["hour"]) == (2026, 11, 1, 10)
    assert row["updated_at"] == NOON - timedelta(hours=1, minutes=30)
    assert (row["gender"], row["tenure"], str(row["monthly_charges"]), str(row["total_charges"])) == (
        "Unknown",
        0,
        "2.50",
        "0.00",
    )
    assert row["defaulted_fields"] == [
        column.name
        for column in DATASET.events.columns
        if column.name not in sparse and column.always_has_value
    ]
    assert (row["_topic"], row["_partition"], row["_offset"], row["_batch_id"]) == ("customers", 0, 0, 0)
    assert (row["_query_id"], row["_processed_at"]) == ("query", lake.clock)
