"""The offsets that Spark planned for a micro-batch, from its checkpoint: known without reading a record.

Spark writes `offsets/N` before batch N runs and keeps to it, whatever happens to the driver.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pyspark.sql import SparkSession

from medallion_spark.stream.checkpoint import CheckpointFolder, Offsets
from medallion_spark.stream.topic_log import Where

Plan = Mapping[Where, range]
"""The offsets of a micro-batch by partition; an empty range where it reads nothing."""


class PlannedOffsets:
    """The plans in one checkpoint.

    Args:
        spark: the session.
        checkpoint: its folder.
    """

    def __init__(self, spark: SparkSession, checkpoint: str) -> None:
        self._checkpoint = CheckpointFolder(spark, checkpoint)
        self._newest: tuple[int, Offsets] | None = None

    def plan(self, batch_id: int, known: Collection[Where]) -> Plan | None:
        """The plan of a batch.

        Args:
            batch_id: Spark's.
            known: partitions that the ledger has. One that appears beside them is new: all its records are
                ours, so it is planned from offset 0, wherever its log begins by now.

        Returns:
            None when the checkpoint does not have it (any more).
        """
        until, start = self._checkpoint.ends(batch_id), self._start(batch_id)
        if until is None or start is None:
            return None
        self._newest = batch_id, until
        if batch_id == 0 and known:  # a recovery: Spark began its new partitions where their logs begin
            start = {where: offset for where, offset in start.items() if where in known}
        return {where: range(start.get(where, 0), stop) for where, stop in until.items()}

    def _start(self, batch_id: int) -> Offsets | None:
        """Where the batch before ends: read already, as a rule."""
        if self._newest is not None and self._newest[0] == batch_id - 1:
            return self._newest[1]
        return self._checkpoint.ends(batch_id - 1) if batch_id else self._checkpoint.start()
