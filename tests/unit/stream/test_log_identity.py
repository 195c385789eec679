"""When a topic's log is the one that was read, and when it is another one of its name."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from medallion_contracts.errors import OtherLogError
from medallion_spark.stream.last_records import LastRecord, last_records, later, record_hash
from medallion_spark.stream.ledger import KnownLog, PartitionOffsets, StreamPosition, position
from medallion_spark.stream.log_acceptance import acceptance_row, are_accepted
from medallion_spark.stream.log_identity import (
    LogChange,
    LogId,
    PartitionSeen,
    describe_changes,
    find_change,
    refuse,
    with_records,
)

LAST = LastRecord(9, 1_000, "last")
WHERE = ("customers", 0)
READ = PartitionOffsets(*WHERE, 0, 10, 10, last_offset=9, last_timestamp_ms=1_000, last_hash="last")
ID = LogId("cluster", "first")
KNOWN = KnownLog("customers", 0, "cluster", "first")
WITHOUT_ID = LogId("namespace", None)


def change(known: KnownLog, now: LogId, *seen: PartitionSeen | None, **last: object) -> str | None:
    """How the log differs whose partitions, read up to offset 10, are seen so."""
    sources = {
        ("customers", number): replace(READ, partition=number, **last)  # type: ignore[arg-type]
        for number in range(len(seen))
    }
    there = {("customers", number): one for number, one in enumerate(seen) if one is not None}
    found = find_change(known, now, sources, there)
    return None if found is None else found.problem


SAME = PartitionSeen(0, 12, LAST)
EXPIRED = PartitionSeen(11, 20, LastRecord(11, 1_500, "next"))
IS_SAME = {
    "the same topic id": (KNOWN, ID, SAME),
    "the same topic id, its records expired": (KNOWN, ID, PartitionSeen(30, 40, LastRecord(30, 1, "x"))),
    "the same topic id, the last record compacted away": (KNOWN, ID, PartitionSeen(0, 12, EXPIRED.found)),
    "no ids, the last record is there": (KnownLog("customers"), WITHOUT_ID, SAME),
    "ids for the first time, the last record is there": (KnownLog("customers"), ID, SAME),
    "no ids any more, the last record is there": (KNOWN, WITHOUT_ID, SAME),
    "no ids, the last record expired, a later one follows": (KnownLog("customers"), WITHOUT_ID, EXPIRED),
    "no ids, all expired": (KnownLog("customers"), WITHOUT_ID, PartitionSeen(12, 12)),
    "no ids, another cluster id, the last record is there": (
        KnownLog("customers", 0, "old", None),
        WITHOUT_ID,
        SAME,
    ),
}


@pytest.mark.parametrize(("known", "now", "seen"), IS_SAME.values(), ids=IS_SAME.keys())
def test_the_log_that_was_read_is_known_again(known: KnownLog, now: LogId, seen: PartitionSeen) -> None:
    assert change(known, now, seen) is None


OTHER_RECORD = PartitionSeen(0, 12, replace(LAST, hash="other"))
IS_OTHER = {
    "another topic id, however alike": (KNOWN, LogId("cluster", "second"), SAME, "topic id"),
    "another cluster": (KNOWN, LogId("other", "first"), SAME, "cluster id"),
    "it ends before what was read": (KNOWN, ID, PartitionSeen(0, 5), "ends at offset 5"),
    "the same id and another record: it was cut back": (
        KNOWN,
        ID,
        OTHER_RECORD,
        "another record at offset 9",
    ),
    "no ids, another content": (KnownLog("customers"), WITHOUT_ID, OTHER_RECORD, "another record"),
    "no ids, another time": (
        KnownLog("customers"),
        WITHOUT_ID,
        PartitionSeen(0, 12, replace(LAST, timestamp_ms=1)),
        "another record",
    ),
    "no ids, no record where one was read": (
        KnownLog("customers"),
        WITHOUT_ID,
        PartitionSeen(0, 12, LastRecord(11, 2_000, "x")),
        "no record at offset 9",
    ),
    "no ids, expired, and an older record follows": (
        KnownLog("customers"),
        WITHOUT_ID,
        PartitionSeen(11, 20, LastRecord(11, 999, "x")),
        "older record",
    ),
    "the partition is gone": (KnownLog("customers"), ID, None, "is not there"),
}


@pytest.mark.parametrize(("known", "now", "seen", "problem"), IS_OTHER.values(), ids=IS_OTHER.keys())
def test_another_log_of_the_name_is_told_apart(
    known: KnownLog, now: LogId, seen: PartitionSeen | None, problem: str
) -> None:
    assert problem in (change(known, now, seen) or "")


def test_one_record_that_is_there_proves_the_log_for_partitions_that_cannot() -> None:
    compacted = PartitionSeen(0, 12, LastRecord(11, 2_000, "x"))
    assert change(KnownLog("customers"), WITHOUT_ID, SAME, compacted) is None
    assert change(KnownLog("customers"), WITHOUT_ID, SAME, OTHER_RECORD) is not None, (
        "what contradicts counts"
    )


def test_nothing_known_of_what_was_read_is_no_proof() -> None:
    assert "is known" in (change(KnownLog("customers"), WITHOUT_ID, SAME, last_hash=None) or "")
    assert (
        change(KnownLog("customers"), WITHOUT_ID, PartitionSeen(0, 0), last_hash=None, until_offset=0) is None
    )


def test_an_accepted_log_of_which_nothing_was_read_yet_is_known_by_where_it_began() -> None:
    known, begun = KnownLog("customers", 1), {"incarnation": 1, "until_offset": 40, "last_hash": None}
    assert change(known, WITHOUT_ID, PartitionSeen(40, 60, EXPIRED.found), **begun) is None
    assert change(known, WITHOUT_ID, PartitionSeen(50, 60, EXPIRED.found), **begun) is None, "some expired"
    assert "is known" in (change(known, WITHOUT_ID, PartitionSeen(0, 60, SAME.found), **begun) or "")
    assert "ends at" in (change(known, WITHOUT_ID, PartitionSeen(0, 5), **begun) or "")


def test_the_refusal_names_what_changed_and_what_to_do() -> None:
    changes = [LogChange(KNOWN, LogId("cluster", "second"), "its topic id was first and is second")]
    with pytest.raises(OtherLogError, match="accept-log customers") as caught:
        refuse(changes, "customers")
    assert "topic customers: its topic id was first and is second" in str(caught.value)
    assert list(caught.value.logs) == describe_changes(changes)
    refuse([], "customers")


def test_only_the_very_log_that_a_person_saw_is_accepted() -> None:
    second, third = (LogChange(KNOWN, LogId("cluster", name), "") for name in ("second", "third"))
    request = {"logs": describe_changes([second])}
    assert are_accepted([second], request)
    assert not are_accepted([third], request), "it was made again once more"
    assert not are_accepted([second, third], request)
    assert not are_accepted([second], None)
    assert not are_accepted([second], {})


def test_an_accepted_log_begins_a_new_incarnation_and_counts_what_is_lost_with_the_old_one() -> None:
    other = PartitionOffsets("customers_replay", 0, 3, 5, 2, incarnation=2, last_offset=4)
    carried = StreamPosition(
        7,
        {WHERE: replace(READ, end_offset=14), ("customers", 1): replace(READ, partition=1), other_key: other},
        {"customers": KNOWN, "customers_replay": KnownLog("customers_replay", 2, "cluster", "r")},
    )
    row = acceptance_row(
        carried,
        [LogChange(KNOWN, LogId("cluster", "second"), "")],
        {("customers", 0): 12, ("customers", 1): 16, ("customers", 2): 3, other_key: 9},
        {("customers", 0): 0, ("customers", 1): 40},
        "hash",
    )
    lost = {(source.topic, source.partition): source.lost for source in row.sources[:4]}
    assert lost == {("customers", 0): 4, ("customers", 1): 6, ("customers", 2): 3, other_key: 0}
    assert (row.lost, row.lost_is_at_least, row.read, row.sequence) == (13, True, 0, 8)
    for source in row.sources:
        assert source.until_offset - source.from_offset == source.read + source.gaps + source.lost
    after = position(row.sequence, row.sources, {log.topic: log for log in row.logs}, row.query_id)
    until = {where: source.until_offset for where, source in after.sources.items()}
    assert until == {("customers", 0): 0, ("customers", 1): 40, other_key: 5}, "from where it begins"
    assert after.logs["customers"] == KnownLog("customers", 1, "cluster", "second")
    assert after.logs["customers_replay"].incarnation == 2


other_key = ("customers_replay", 0)


def test_a_batch_keeps_the_last_record_of_partitions_that_it_read_nothing_of() -> None:
    read = PartitionOffsets("customers", 1, 3, 8, 5)
    idle = replace(READ, from_offset=10, read=0, last_offset=None, last_timestamp_ms=None, last_hash=None)
    found = with_records(
        {WHERE: idle, ("customers", 1): read},
        {WHERE: READ},
        {("customers", 1): LastRecord(7, 5, "seven")},
        {("customers", 1): 6, WHERE: 30},
        {"customers": 1},
    )
    assert found[WHERE].last == LAST
    assert (found[WHERE].end_offset, found["customers", 1].end_offset) == (30, 8), (
        "never before what was read"
    )
    assert found["customers", 1].last == LastRecord(7, 5, "seven")
    assert {source.incarnation for source in found.values()} == {1}


def test_the_last_record_of_each_partition_is_found_with_its_time_and_hash() -> None:
    table = pa.table(
        {
            "topic": ["a", "a", "b", "a"],
            "partition": pa.array([0, 1, 0, 0], pa.int32()),
            "offset": [4, 9, 2, 5],
            "timestamp": pa.array([1, 2, -1_000, 1_001_999], pa.timestamp("us", "UTC")),
            "key": pa.array([b"k", None, b"", b"k"], pa.binary()),
            "value": pa.array([b"v", b"w", None, b"x"], pa.binary()),
        }
    )
    found = last_records(table)
    assert found == {
        ("a", 0): LastRecord(5, 1001, record_hash(b"k", b"x")),
        ("a", 1): LastRecord(9, 0, record_hash(None, b"w")),
        ("b", 0): LastRecord(2, -1, record_hash(b"", None)),
    }
    assert later(found, {("a", 0): LastRecord(4, 0, "")})["a", 0].offset == 5
    assert last_records(table.slice(0, 0)) == {}


def test_the_hash_tells_key_from_value_and_null_from_empty() -> None:
    hashes = {
        record_hash(*one) for one in ((b"a", b"b"), (b"ab", b""), (b"", b"ab"), (b"ab", None), (None, b"ab"))
    }
    assert len(hashes) == 5
