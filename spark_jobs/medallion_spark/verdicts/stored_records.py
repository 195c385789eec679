"""Parses bronze's records by today's contract, each as of the day on which it was read."""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from medallion_contracts.model import INCARNATION, Dataset
from medallion_spark.lake.incarnations import with_incarnation
from medallion_spark.stream.source import RECORD_COLUMNS
from medallion_spark.verdicts.parse import LOG_APPEND_TIME, parse_records

BATCH = ("_query_id", "_batch_id")
"""The micro-batch that a row of bronze came in."""


def parse_stored(
    stored: DataFrame, dataset: Dataset, *, now: datetime | None = None, reject_unknown: bool = False
) -> DataFrame:
    """Parse bronze's rows, with the future measured from the clock of their own batch.

    Args:
        stored: rows of bronze.
        dataset: today's contracts.
        now: UTC; the present time if None.
        reject_unknown: whether unknown fields are a reason.

    Returns:
        as `parse_records`, plus `incarnation`, `ingested_at`, `ingest_date`, `contract_hash`, BATCH, and the
        struct `before` of the `verdict` and `reasons` that bronze has.
    """
    is_brokers = F.col("timestamp_type") == LOG_APPEND_TIME
    records = with_incarnation(stored).select(
        *(name for name in RECORD_COLUMNS if name not in ("timestamp", "timestampType")),
        # What the future was measured from: the batch's clock, or the broker's where that was earlier.
        F.when(is_brokers, F.least("timestamp", "ingested_at"))
        .otherwise(F.col("ingested_at"))
        .alias("timestamp"),
        F.lit(LOG_APPEND_TIME).alias("timestampType"),
        F.col(INCARNATION).alias("incarnation"),
        *("ingested_at", "ingest_date", "contract_hash", *BATCH),
        F.struct("verdict", "reasons").alias("before"),
    )
    return parse_records(
        records, dataset, clock=now or datetime.now(UTC), lateness=None, reject_unknown=reject_unknown
    )
