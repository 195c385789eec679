"""Whether the log behind a topic is the one that was read before: rules, without asking anyone.

An offset means something within one log. A topic that is deleted and made again under its name, a failover to
another namespace, a broker restored from a copy: all of them leave the name and give another log. Kafka gives
each topic an id; where a broker has none (Event Hubs), the last records that were read decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from medallion_contracts.errors import OtherLogError
from medallion_spark.stream.last_records import LastRecord, Partition
from medallion_spark.stream.ledger import KnownLog, PartitionOffsets, Sources, StreamPosition


@dataclass(frozen=True)
class LogId:
    """What a broker says of a topic: its cluster and the topic's id; None where it has none."""

    cluster_id: str | None
    topic_id: str | None


@dataclass(frozen=True)
class PartitionSeen:
    """What the broker has of a partition.

    `begin` and `end` bound its offsets (`end` exclusive); `found` is the first record from the last one read
    on, None when there is none.
    """

    begin: int
    end: int
    found: LastRecord | None = None


@dataclass(frozen=True)
class LogChange:
    """A topic whose log is another one: which was known, which is there now, and how that shows."""

    known: KnownLog
    now: LogId
    problem: str

    @property
    def accepted(self) -> KnownLog:
        """The log that is there now, as the topic's next incarnation."""
        return KnownLog(self.known.topic, self.known.incarnation + 1, self.now.cluster_id, self.now.topic_id)


def changed_ids(known: KnownLog, now: LogId) -> str | None:
    """How the ids differ; None when they are the same or one side has none."""
    if known.topic_id is None or now.topic_id is None:
        return None
    if known.topic_id != now.topic_id:
        return f"its topic id was {known.topic_id} and is {now.topic_id}"
    if known.cluster_id and now.cluster_id and known.cluster_id != now.cluster_id:
        return f"its cluster id was {known.cluster_id} and is {now.cluster_id}"
    return None


def changed_records(source: PartitionOffsets, seen: PartitionSeen | None, *, is_proven: bool) -> str | None:
    """How a partition shows that its log is another one, or cannot show that it is the same; None when it is.

    Args:
        source: what was read of it, with the last record where that is known.
        seen: what the broker has; None when it has no such partition.
        is_proven: whether the topic's id, or a record of another partition, says that the log is the same.
            Then only what contradicts counts.
    """
    name = f"partition {source.partition}"
    if source.until_offset == 0:
        return None
    if seen is None:
        return f"{name} is not there"
    if seen.end < source.until_offset:
        return f"{name} ends at offset {seen.end}, and all before {source.until_offset} were read"
    last, found = source.last, seen.found
    if last is not None and found is not None and found.offset == last.offset:
        return None if found == last else f"{name} has another record at offset {last.offset}"
    if is_proven:
        return None
    if last is None and source.incarnation and seen.begin >= source.until_offset:
        return None  # of an accepted log nothing was read yet
    if last is None:
        return f"no record that was read of {name} is known"
    if seen.begin <= last.offset:
        return f"{name} has no record at offset {last.offset}, where one was read"
    # It has expired. What follows it in the same log is not older.
    if found is not None and found.timestamp_ms < last.timestamp_ms:
        return f"{name} goes on with an older record than the last one that was read"
    return None


def find_change(
    known: KnownLog,
    now: LogId,
    sources: Mapping[Partition, PartitionOffsets],
    seen: Mapping[Partition, PartitionSeen],
) -> LogChange | None:
    """How a topic's log differs from the one that was read; None when it is the same.

    Args:
        known: of the ledger; without ids for a topic that was read before ids were kept.
        now: of the broker.
        sources: what was read, by partition.
        seen: what the broker has; partitions that were never read may be among them.
    """
    problem = changed_ids(known, now)
    if problem is None:
        mine = [(s, seen.get(where)) for where, s in sorted(sources.items()) if where[0] == known.topic]
        is_proven = known.topic_id is not None and known.topic_id == now.topic_id
        is_proven |= any(there is not None and s.last and s.last == there.found for s, there in mine)
        found = (changed_records(source, there, is_proven=is_proven) for source, there in mine)
        problem = next((one for one in found if one is not None), None)
    return None if problem is None else LogChange(known, now, problem)


def known_log(position: StreamPosition, topic: str) -> KnownLog:
    """The topic's log as the ledger knows it."""
    return position.logs.get(topic, KnownLog(topic))


def with_records(
    sources: Sources,
    carried: Sources,
    last: Mapping[Partition, LastRecord],
    ends: Mapping[Partition, int],
    incarnations: Mapping[str, int],
) -> dict[Partition, PartitionOffsets]:
    """A batch's partitions with what identifies their logs.

    Args:
        sources: of `account`.
        carried: of the ledger's newest row.
        last: the batch's last records.
        ends: where the partitions ended when that was last seen.
        incarnations: by topic; 0 of those not named.
    """
    result = {}
    for where, source in sources.items():
        before = carried.get(where)
        record = last.get(where) or (before.last if before else None)
        end = ends.get(where, before.end_offset if before else None)
        result[where] = replace(
            source,
            incarnation=incarnations.get(source.topic, 0),
            last_offset=record.offset if record else None,
            last_timestamp_ms=record.timestamp_ms if record else None,
            last_hash=record.hash if record else None,
            end_offset=None if end is None else max(end, source.until_offset),
        )
    return result


def describe_changes(changes: Iterable[LogChange]) -> list[dict[str, Any]]:
    """The logs that are there now, as the control files name them."""
    return [
        {
            "topic": change.known.topic,
            "incarnation": change.accepted.incarnation,
            "cluster_id": change.now.cluster_id,
            "topic_id": change.now.topic_id,
            "problem": change.problem,
        }
        for change in changes
    ]


def refuse(changes: list[LogChange], dataset: str) -> None:
    """Stop for logs that are not the known ones.

    Raises:
        OtherLogError: names what changed in each, and what to do.
    """
    if not changes:
        return
    what = "; ".join(f"topic {one.known.topic}: {one.problem}" for one in changes)
    raise OtherLogError(
        f"another log is behind the same name: {what}. Offsets of the old log mean nothing in it. To read it "
        f"from its beginning, run `python -m medallion_ops.control accept-log {dataset}`; otherwise correct "
        "MEDALLION_KAFKA_BOOTSTRAP or bring the old log back",
        describe_changes(changes),
    )
