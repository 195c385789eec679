"""Goes on after the checkpoint is gone, by what bronze and the ledger know.

Order, and what a kill leaves behind: (1) a ledger that is gone or too old gets its rows from bronze, in one
commit; (2) a batch that bronze has and the ledger lacks is completed: safe to repeat, as any batch; (3) the
old query is fenced: an empty commit, nothing once it is there; (4) the new query starts at the ledger's
offsets. Before Spark has made its new checkpoint all four are done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

from pyspark.sql import SparkSession

from medallion_contracts.errors import StreamError
from medallion_spark.lake.tables import FENCED, LakeTable, StreamTables
from medallion_spark.stream.batch import MicroBatches
from medallion_spark.stream.ledger import Ledger, StreamPosition
from medallion_spark.stream.ledger_completion import bronze_batches

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
        ledger: prepared, and complete but for the newest batch.
        batches_of: gives the micro-batches of a query.

    Raises:
        StreamError: there is nothing to recover from.
    """
    query_id = last_query(tables.bronze, ledger)
    if query_id is None:
        raise StreamError("neither bronze nor the ledger has a batch: start without --recover-from-ledger")
    for its_query, batch_id in unfinished_batches(tables.bronze, ledger):
        _log.info("batch %d of query %s is completed from bronze", batch_id, its_query)
        batches_of(its_query).process(spark.range(0), batch_id)  # bronze holds the batch: no record is read
    fence(tables, query_id)


def fence(tables: StreamTables, query_id: str) -> None:
    """Shut a query out of all tables; safe to repeat."""
    for table in (tables.bronze, tables.silver, tables.quarantine):
        if table.fence(f"{query_id}:{table.name}"):
            _log.info("%s is closed to query %s", table.path, query_id)


def is_fenced(table: LakeTable, query_id: str) -> bool:
    """Whether a query was shut out of a table."""
    return table.log().transaction_version(f"{query_id}:{table.name}") == FENCED


def last_query(bronze: LakeTable, ledger: Ledger) -> str | None:
    """The query that wrote last; None when none ever did."""
    newest = next(bronze_batches(bronze), None)
    return newest[0] if newest else ledger.last_query()


def unfinished_batch(bronze: LakeTable, ledger: Ledger) -> tuple[str, int] | None:
    """The newest batch of bronze when the ledger lacks it, None when all are done."""
    missing = unfinished_batches(bronze, ledger)
    return missing[-1] if missing else None


def unfinished_batches(bronze: LakeTable, ledger: Ledger) -> list[tuple[str, int]]:
    """Query and id of the batches that bronze has and the ledger lacks, the oldest first.

    A driver that dies leaves one of them; more are missing in a ledger that lost its newest rows.
    """
    missing = []
    for query_id, batch_id in bronze_batches(bronze):
        done = ledger.last_batch(query_id)
        if done is not None and done >= batch_id:
            break
        missing.append((query_id, batch_id))
    return missing[::-1]


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
