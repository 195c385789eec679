"""Goes on after the checkpoint is gone, by what bronze and the ledger know.

Order, and what a kill leaves behind: (1) a batch that bronze has and the ledger lacks is completed: safe to
repeat, as any batch; (2) the old query is fenced: an empty commit, nothing once it is there; (3) the new
query starts at the ledger's offsets. Before Spark has made its new checkpoint all three are done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

from pyspark.sql import SparkSession

from medallion_contracts.errors import StreamError
from medallion_spark.lake.tables import LakeTable, StreamTables
from medallion_spark.stream.batch import MicroBatches
from medallion_spark.stream.ledger import Ledger, StreamPosition

EARLIEST = -2
"""Kafka's word for the first offset there is."""

_log = logging.getLogger(__name__)


def recover(
    spark: SparkSession, tables: StreamTables, ledger: Ledger, batches_of: Callable[[str], MicroBatches]
) -> None:
    """Complete the batch that was under way when the checkpoint was lost, and shut the old query out.

    Args:
        spark: the session.
        tables: prepared.
        ledger: prepared.
        batches_of: gives the micro-batches of a query.

    Raises:
        StreamError: there is nothing to recover from.
    """
    query_id = last_query(tables.bronze, ledger)
    if query_id is None:
        raise StreamError("neither bronze nor the ledger has a batch: start without --recover-from-ledger")
    batch_id = unfinished_batch(tables.bronze, ledger)
    if batch_id is not None:
        _log.info("batch %d of query %s is completed from bronze", batch_id, query_id)
        batches_of(query_id).process(spark.range(0), batch_id)  # bronze holds the batch: no record is read
    for table in (tables.bronze, tables.silver, tables.quarantine):
        if table.fence(f"{query_id}:{table.name}"):
            _log.info("%s is closed to query %s", table.path, query_id)


def last_query(bronze: LakeTable, ledger: Ledger) -> str | None:
    """The query that wrote last; None when none ever did."""
    last = _last_batch(bronze)
    return last[0] if last else ledger.last_query()


def unfinished_batch(bronze: LakeTable, ledger: Ledger) -> int | None:
    """The batch that bronze has and the ledger lacks, None when all are done."""
    last = _last_batch(bronze)
    if last is None:
        return None
    done = ledger.last_batch(last[0])
    return last[1] if done is None or done < last[1] else None


def _last_batch(bronze: LakeTable) -> tuple[str, int] | None:
    """Query and batch of bronze's newest batch; None when its history (of a month) tells of none."""
    for commit in bronze.newest_commits():
        label = commit.label.split(":")
        if len(label) == 4 and label[1] == bronze.name:  # as `LakeTable.append` writes it
            return label[0], int(label[2])
    return None


def offsets_after(
    carried: StreamPosition, partitions: Mapping[str, Collection[int]]
) -> Mapping[str, Mapping[str, int]]:
    """Where a new query begins, as Spark's startingOffsets wants it.

    Args:
        carried: of the ledger.
        partitions: all partitions of each topic that is read.
    """
    until = {where: source.until_offset for where, source in carried.sources.items()}
    return {
        topic: {str(number): until.get((topic, number), EARLIEST) for number in numbers}
        for topic, numbers in partitions.items()
    }
