"""What became of each offset of a micro-batch: read, a gap, compacted away, or lost. Nothing is guessed.

An offset at which nothing was read is

| where | what it is |
|---|---|
| below the log's start, when its turn to be read came | `lost` |
| above, and the broker serves no record there | a gap: a transaction's marker, an aborted record |
| the same on a compacted topic | `compacted` |
| above, and the broker serves a record there | a reason to stop: it was passed over |

The broker's word is one of two: the batch's own reader was put at the offset and was served a later one, or a
reader of ours is put there now. The first is enough for what lies below the log's start by now; the second is
asked for whatever the batch's plan leaves out, and for the largest holes within it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medallion_contracts.errors import BalanceError, RecordsLost, StreamError
from medallion_spark.stream.ledger import PartitionOffsets, Sources
from medallion_spark.stream.planned_offsets import Plan
from medallion_spark.stream.topic_log import LogStartMoved, TopicLog, Where

MOST_ASKED = 20
"""So many holes within a batch the broker is asked about, the largest; each takes some milliseconds."""

Row = Mapping[str, Any]
Holes = Callable[[Where], Sequence[range]]
"""Gives the offsets between the first and the last record of a partition at which none was read."""


@dataclass(frozen=True)
class _Hole:
    """Offsets without a record. `was_passed`: by the batch's own reader, which the broker took past them."""

    where: Where
    offsets: range
    was_passed: bool


class OffsetAccount:
    """Accounts for the offsets of micro-batches.

    Args:
        log: the broker's side.
        may_lose: whether records that the broker has lost are counted; else they stop the stream.
    """

    def __init__(self, log: TopicLog, *, may_lose: bool) -> None:
        self._log = log
        self._may_lose = may_lose

    def account(
        self, rows: Sequence[Row], carried: Sources, plan: Plan | None, holes: Holes, *, is_derived: bool
    ) -> dict[Where, PartitionOffsets]:
        """What the batch did with each Kafka partition's offsets.

        Args:
            rows: of `summarise`.
            carried: of the ledger's newest row.
            plan: of the batch; None when it is not known: then it ends with its last record.
            holes: called for partitions in which offsets between records are missing.
            is_derived: whether the records are those that bronze has. It got them after they had been
                accounted for: what has expired since is not lost.

        Raises:
            BalanceError: offsets were read that an earlier batch had accounted for, or too many.
            RecordsLost: the broker has lost records, and they may not be counted.
            StreamError: the broker has records that were passed over.
        """
        groups: dict[Where, list[Row]] = {}
        for row in rows:
            groups.setdefault((row["topic"], row["partition"]), []).append(row)
        planned = _known_of(plan or {}, groups) if is_derived else plan or {}
        sources = {where: untouched(source) for where, source in carried.items()}
        found: list[_Hole] = []
        for where in sorted({*groups, *planned}):
            source, its_holes = _partition(where, groups.get(where, []), carried, planned.get(where), holes)
            sources[where] = source
            found += [replace(hole, was_passed=hole.was_passed or is_derived) for hole in its_holes]
        self._settle(found, sources)
        return sources

    def refuse_records(self, where: Where, offsets: range) -> int | None:
        """The first of the offsets at which the broker has a record; None when it has none (any more)."""
        hole = _Hole(where, offsets, was_passed=False)
        return self._first_record(hole, self._log.starts(where[0]))[0]

    def _settle(self, holes: Sequence[_Hole], sources: dict[Where, PartitionOffsets]) -> None:
        """Add what each hole is to its partition."""
        largest = sorted((hole for hole in holes if hole.was_passed), key=lambda hole: -len(hole.offsets))
        asked = {*largest[:MOST_ASKED], *(hole for hole in holes if not hole.was_passed)}
        starts = {topic: self._log.starts(topic) for topic in {hole.where[0] for hole in holes}}
        compacted = {topic for topic in starts if self._log.is_compacted(topic)}
        for hole in holes:
            topic, partition = hole.where
            gone = _below(starts[topic].get(partition, hole.offsets.stop), hole.offsets)
            if hole in asked:
                record, gone = self._first_record(hole, starts[topic])
                if record is not None:
                    raise StreamError(_passed_over(hole, record))
            # With failOnDataLoss Spark's reader stops below the log's start: what it passed was there then.
            lost = len(gone) if self._may_lose or not hole.was_passed else 0
            empty = len(hole.offsets) - lost
            source = sources[hole.where]
            sources[hole.where] = replace(
                source,
                lost=source.lost + lost,
                compacted=source.compacted + (empty if topic in compacted else 0),
                gaps=source.gaps + (0 if topic in compacted else empty),
            )
        if not self._may_lose:
            refuse_losses(
                {
                    where: range(source.from_offset, source.from_offset + source.lost)
                    for where, source in sources.items()
                }
            )

    def _first_record(self, hole: _Hole, starts: Mapping[int, int]) -> tuple[int | None, range]:
        """The first record that the broker serves in a hole, and the offsets below the log's start."""
        topic, partition = hole.where
        while True:
            gone = _below(starts.get(partition, hole.offsets.stop), hole.offsets)
            try:
                return self._log.first_record(hole.where, hole.offsets[len(gone) :]), gone
            except LogStartMoved:
                starts = self._log.starts(topic)  # each time it is a later one


def refuse_losses(lost: Mapping[Where, range]) -> None:
    """Stop where records are lost.

    Args:
        lost: offsets that are gone, by partition; empty ranges say nothing.

    Raises:
        RecordsLost: names the offsets, and how many they are.
    """
    named = [
        f"offsets {offsets.start} to {offsets.stop - 1} of {topic}-{partition} are gone ({len(offsets)})"
        for (topic, partition), offsets in sorted(lost.items())
        if offsets
    ]
    if named:
        raise RecordsLost(
            f"{'; '.join(named)}: the broker no longer has them, and they were never read; find the records "
            "at their source, then go on with MEDALLION_ON_DATA_LOSS=count: the ledger counts them as lost"
        )


def lost_offsets(next_offsets: Mapping[Where, int], log: TopicLog) -> dict[Where, range]:
    """Offsets that are to be read and that the broker no longer has.

    Args:
        next_offsets: the first not read yet, by partition; a partition without one is new.
        log: the broker's side.
    """
    return {
        (topic, partition): range(next_offsets.get((topic, partition), 0), start)
        for topic in {where[0] for where in next_offsets}
        for partition, start in log.starts(topic).items()
    }


def _known_of(plan: Plan, groups: Mapping[Where, Sequence[Row]]) -> Plan:
    """What a plan says of records that bronze has: where they begin. They may be those of another plan."""
    firsts = {where: min(row["smallest_offset"] for row in group) for where, group in groups.items()}
    starts = {where: min(plan[where].start, first) for where, first in firsts.items() if where in plan}
    return {where: range(start, start) for where, start in starts.items()}


def untouched(source: PartitionOffsets) -> PartitionOffsets:
    """A partition after a batch that reads nothing of it."""
    until = source.until_offset
    return PartitionOffsets(source.topic, source.partition, until, until, watermark=source.watermark)


def _partition(
    where: Where,
    group: Sequence[Row],
    carried: Sources,
    plan: range | None,
    holes: Holes,
) -> tuple[PartitionOffsets, list[_Hole]]:
    """One partition's numbers without its holes, and the holes."""
    read = sum(row["rows"] for row in group)
    before = carried.get(where)
    begin = before.until_offset if before else plan.start if plan is not None else 0
    first = min((row["smallest_offset"] for row in group), default=None)
    if before is None and plan is None and first is not None:
        begin = first
    end = max((row["largest_offset"] + 1 for row in group), default=begin)
    until = max(begin, end, plan.stop if plan is not None else end)
    if first is not None and (first < begin or end - begin < read):
        raise BalanceError(
            f"{where[0]}-{where[1]}: {read} records at offsets {first} to {end - 1}, "
            f"but the ledger says all before {begin} are done: offsets were read twice"
        )
    served = until if first is None else first
    # Spark begins a new partition where its log begins by then: what was before that no reader passed.
    is_new = before is None and bool(carried)
    left_out = served if plan is None or is_new else min(max(begin, plan.start), served)
    found = [
        _Hole(where, range(begin, left_out), was_passed=False),
        _Hole(where, range(left_out, served), was_passed=True),
    ]
    if first is not None:
        if end - first != read:
            found += [_Hole(where, offsets, was_passed=True) for offsets in holes(where)]
        found.append(_Hole(where, range(end, until), was_passed=True))
    marks = [row["watermark"] for row in group] + [before.watermark if before else None]
    watermark = max((mark for mark in marks if mark is not None), default=None)
    source = PartitionOffsets(where[0], where[1], begin, until, read, watermark=watermark)
    return source, [hole for hole in found if hole.offsets]


def _below(start: int, offsets: range) -> range:
    """Those of the offsets that lie before the log's start."""
    return range(offsets.start, max(offsets.start, min(start, offsets.stop)))


def _passed_over(hole: _Hole, record: int) -> str:
    topic, partition = hole.where
    return (
        f"{topic}-{partition}: offsets {hole.offsets.start} to {hole.offsets.stop - 1} were not read, but "
        f"the broker has a record at {record}: Spark's checkpoint is ahead of the ledger (a copied or "
        "restored lake); move the checkpoint away and start with --recover-from-ledger"
    )
