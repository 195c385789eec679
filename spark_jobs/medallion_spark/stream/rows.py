"""From judged records to the rows of the lake's tables, and from bronze's rows back to judged records."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from medallion_contracts import reasons
from medallion_contracts.errors import StreamError
from medallion_contracts.model import Dataset
from medallion_spark.stream.accounting import LATE, REJECTED, SILVER
from medallion_spark.stream.deduplicate import COORDINATES
from medallion_spark.stream.parsing import parse_records
from medallion_spark.stream.placement import silver_partition
from medallion_spark.stream.source import RECORD_COLUMNS

ORIGIN = ("_query_id", "_batch_id", "ingested_at", "contract_hash")
"""Columns of judged records, as bronze has them: the micro-batch that judged, its clock, its contract."""


def is_silver() -> Column:
    """Whether a judged record goes to silver."""
    return F.col("verdict") == SILVER


def is_quarantined() -> Column:
    """Whether a judged record goes to quarantine."""
    return F.col("verdict").isin(LATE, REJECTED)


def bronze_columns() -> list[Column]:
    """Bronze's columns of a judged record."""
    return [*_record(), F.col("ingested_at"), _ingest_date(), *_decision()]


def silver_columns(dataset: Dataset) -> list[Column]:
    """Silver's columns, in the contract's order, of a judged record (`fields`, `defaulted`).

    Raises:
        StreamError: the contract of silver has a column that no record can fill.
    """
    ours: dict[str, Column] = {
        **{name: F.col(f"fields.{name}") for name in dataset.events.column_names},
        "defaulted_fields": F.col("defaulted"),
        **{f"_{name}": F.col(name) for name in COORDINATES},
        "_query_id": F.col("_query_id"),
        "_batch_id": F.col("_batch_id"),
        "_enqueued_at": F.col("timestamp"),
        "_processed_at": F.col("ingested_at"),
        **silver_partition(dataset),
    }
    missing = [name for name in dataset.silver.column_names if name not in ours]
    if missing:
        raise StreamError(f"the stream cannot fill silver's {', '.join(missing)}: change its contract")
    return [ours[name].alias(name) for name in dataset.silver.column_names]


def quarantine_columns() -> list[Column]:
    """Quarantine's columns of a judged record; the same record gets the same id on every execution."""
    return [
        F.sha2(F.concat_ws("/", *COORDINATES), 256).alias("quarantine_id"),
        *_record(),
        F.col("ingested_at").alias("quarantined_at"),
        _ingest_date(),
        *_decision(),
    ]


def _record() -> list[Column]:
    return [
        F.col(name).alias("timestamp_type") if name == "timestampType" else F.col(name)
        for name in RECORD_COLUMNS
    ]


def _decision() -> list[Column]:
    return [F.col(name) for name in ("_query_id", "_batch_id", "verdict", "reasons", "contract_hash")]


def _ingest_date() -> Column:
    return F.col("ingested_at").cast("date").alias("ingest_date")


def derive(
    stored: DataFrame, dataset: Dataset, clock: datetime, *, made: DataFrame | None = None
) -> DataFrame:
    """Judged records of bronze's rows: the verdicts stand as bronze has them.

    A record that bronze calls silver and that today's contract can no longer make a row of is `rejected` with
    `contract_changed`, by today's contract. Where silver's rows were made already, they tell which it is.

    Args:
        stored: rows of bronze.
        dataset: today's contracts.
        clock: of the micro-batch, UTC; only `event_time` depends on it.
        made: coordinates of the rows that silver has of these records; None when they are yet to be made.

    Returns:
        as `parse_records`, with `verdict`, `reasons` and the columns of ORIGIN.
    """
    records = stored.withColumnRenamed("timestamp_type", "timestampType").select(
        *RECORD_COLUMNS,
        *ORIGIN,
        F.struct("verdict", "reasons").alias("stored"),
    )
    parsed = parse_records(records, dataset, clock=clock, lateness=None)
    faults = F.array_remove("reasons", reasons.FUTURE)  # the future of its own day, which bronze has judged
    cannot_be_made = F.size(faults) > 0
    if made is not None:
        parsed = parsed.join(made.withColumn("is_made", F.lit(True)), list(COORDINATES), "left")
        cannot_be_made = F.col("is_made").isNull()
    is_changed = (F.col("stored.verdict") == SILVER) & cannot_be_made
    because = F.array(F.lit(reasons.CONTRACT_CHANGED))
    return (
        parsed.withColumn("is_changed", is_changed)
        .withColumn("verdict", F.when(F.col("is_changed"), REJECTED).otherwise(F.col("stored.verdict")))
        .withColumn("reasons", F.when(F.col("is_changed"), because).otherwise(F.col("stored.reasons")))
        .withColumn(
            "contract_hash",
            F.when(F.col("is_changed"), F.lit(dataset.fingerprint)).otherwise(F.col("contract_hash")),
        )
        .drop("stored", "is_changed", "is_made")
    )
