"""The order in which the stream judged batches: the ledger's, because clocks may go back."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.errors import StreamError
from medallion_spark.stream.ledger import Ledger
from medallion_spark.verdicts.stored_records import BATCH


def batch_sequences(spark: SparkSession, ledger: Ledger, unfinished: tuple[str, int] | None) -> DataFrame:
    """BATCH and `sequence` of every batch.

    Args:
        spark: the session.
        ledger: of the dataset.
        unfinished: the newest batch of bronze if the ledger lacks it: it is the last one.
    """
    known = (
        spark.read.format("delta")
        .load(ledger.path)
        .select(F.col("query_id").alias(BATCH[0]), F.col("batch_id").alias(BATCH[1]), "sequence")
    )
    if unfinished is None:
        return known
    last = spark.createDataFrame([(*unfinished, 2**62)], known.schema)
    return known.unionAll(last)


def refuse_unknown_batches(stored: DataFrame, sequences: DataFrame) -> None:
    """Look whether the order of every batch is known.

    Args:
        stored: rows with BATCH.
        sequences: of `batch_sequences`.

    Raises:
        StreamError: names how many are not, and the first of them.
    """
    unknown = stored.select(*BATCH).distinct().join(sequences, list(BATCH), "left_anti").toArrow().to_pylist()
    if unknown:
        first = min((row[BATCH[1]], row[BATCH[0]]) for row in unknown)
        raise StreamError(
            f"the ledger lacks {len(unknown)} batches of bronze, e.g. batch {first[0]} of query {first[1]}, "
            "so their order is not known: put the ledger back from a backup, or move its folder away and "
            "trigger the rebuild again, which makes it from bronze"
        )
