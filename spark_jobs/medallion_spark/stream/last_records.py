"""The last record that was read of each Kafka partition: what tells a log from another one of its name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

Partition = tuple[str, int]
"""Topic and number."""


@dataclass(frozen=True)
class LastRecord:
    """Where a record is, Kafka's time for it (milliseconds since the epoch), and `record_hash` of it."""

    offset: int
    timestamp_ms: int
    hash: str


def record_hash(key: bytes | None, value: bytes | None) -> str:
    """SHA-256 of a record's key and value; null is not the same as empty."""
    digest = hashlib.sha256()
    for part in (key, value):
        digest.update(b"-" if part is None else b"%d:" % len(part))
        digest.update(part or b"")
    return digest.hexdigest()


def last_records(records: pa.Table) -> dict[Partition, LastRecord]:
    """The record with the largest offset of each partition.

    Args:
        records: `topic`, `partition`, `offset`, `timestamp` (microseconds), `key` and `value`.
    """
    found = {}
    largest = records.group_by(["topic", "partition"]).aggregate([("offset", "max")]).to_pylist()
    for source in largest:
        is_it = pc.and_(
            pc.equal(records["offset"], source["offset_max"]),
            pc.and_(
                pc.equal(records["topic"], source["topic"]),
                pc.equal(records["partition"], source["partition"]),
            ),
        )
        row = pc.indices_nonzero(is_it)[0].as_py()
        key, value = records["key"][row].as_py(), records["value"][row].as_py()
        micros = records["timestamp"][row].cast(pa.int64()).as_py()
        found[source["topic"], source["partition"]] = LastRecord(
            source["offset_max"], micros // 1000, record_hash(key, value)
        )
    return found


def later(
    one: Mapping[Partition, LastRecord], other: Mapping[Partition, LastRecord]
) -> dict[Partition, LastRecord]:
    """Of each partition the record with the larger offset."""
    result = dict(one)
    for where, record in other.items():
        if where not in result or result[where].offset < record.offset:
            result[where] = record
    return result
