"""Whether Spark's checkpoint and the ledger tell of the same past: rules, without asking anyone.

A checkpoint that is older than the ledger would have records read twice; one that is ahead of it (a copied
lake, a failover of the storage, a ledger that lost its newest rows) would leave records out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medallion_spark.stream.checkpoint import Checkpoint, Offsets
from medallion_spark.stream.last_records import Partition


@dataclass(frozen=True)
class Hole:
    """Offsets of a partition that the checkpoint calls done and the ledger does not know."""

    where: Partition
    start: int
    until: int

    def __str__(self) -> str:
        return f"{self.where[0]}-{self.where[1]} offsets {self.start} to {self.until - 1}"


@dataclass(frozen=True)
class Comparison:
    """What comparing found: why the checkpoint is older, if it is, and where it is ahead of the ledger."""

    older: str | None
    ahead: tuple[Hole, ...] = ()


def compare_checkpoint(checkpoint: Checkpoint, last_batch: int | None, until: Offsets) -> Comparison:
    """Compare the offsets at which Spark goes on with those that the ledger accounts for.

    Args:
        checkpoint: Spark's.
        last_batch: the newest batch of the checkpoint's query that the ledger has.
        until: where the ledger's newest row ends, by partition.
    """
    if last_batch is not None and (checkpoint.planned is None or last_batch > checkpoint.planned):
        return Comparison(f"the ledger has batch {last_batch}, the checkpoint did not plan it")
    position = _position(checkpoint, last_batch)
    if not position:
        return Comparison(None)  # nothing was planned: the ledger's offsets are where the query begins
    behind = sorted(where for where, offset in until.items() if position.get(where, 0) < offset)
    if behind:
        topic, number = behind[0]
        return Comparison(
            f"it goes on at offset {position.get(behind[0], 0)} of {topic}-{number}, "
            f"the ledger has all before {until[behind[0]]}"
        )
    starts: Mapping[Partition, int] = {**checkpoint.start, **until}
    holes = (Hole(where, starts.get(where, 0), offset) for where, offset in sorted(position.items()))
    return Comparison(None, tuple(hole for hole in holes if hole.start < hole.until))


def _position(checkpoint: Checkpoint, last_batch: int | None) -> Offsets:
    """Where the first batch begins that will be judged."""
    if last_batch is not None and last_batch == checkpoint.planned:
        return checkpoint.planned_ends  # Spark may run it again, and it is done
    if checkpoint.finished is not None:
        return checkpoint.finished_ends
    return checkpoint.start
