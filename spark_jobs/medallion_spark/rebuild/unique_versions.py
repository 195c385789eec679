"""Of each version of an entity silver gets one row, also where bronze has accepted it more than once.

That happens: a record is accepted, its driver dies, and the contract of the next one can make no row of it
(`contract_changed`); replayed after the contract was put right, the same version is accepted again. The later
record is the one in silver: the stream accepts a version only when silver has none of it. So the one accepted
last stays, and those before it are what they are in quarantine, `contract_changed`.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from medallion_contracts import reasons
from medallion_contracts.model import INCARNATION, Dataset
from medallion_spark.stream.batch_balance import REJECTED, SILVER
from medallion_spark.verdicts.deduplicate import COORDINATES
from medallion_spark.verdicts.stored_records import BATCH


def superseded_records(judged: DataFrame, sequences: DataFrame, dataset: Dataset) -> DataFrame:
    """Coordinates of the accepted records whose version was accepted again later.

    Args:
        judged: of `table_rows.derive`.
        sequences: of `batch_sequences`.
        dataset: today's contracts.
    """
    accepted = judged.where(F.col("verdict") == SILVER).select(
        *COORDINATES,
        *BATCH,
        F.col(f"fields.{dataset.key}").alias("key"),
        F.col(f"fields.{dataset.event_time}").alias("event_time"),
    )
    repeated = accepted.groupBy("key", "event_time").count().where("count > 1").drop("count")
    newest_first = Window.partitionBy("key", "event_time").orderBy(
        *(F.col(name).desc() for name in ("sequence", *COORDINATES))
    )
    return (
        accepted.join(repeated, ["key", "event_time"], "left_semi")
        .join(sequences, list(BATCH))
        .withColumn("rank", F.row_number().over(newest_first))
        .where("rank > 1")
        .select(*COORDINATES)
        .distinct()
    )


def without_superseded(judged: DataFrame, superseded: DataFrame, dataset: Dataset) -> DataFrame:
    """The judged records, those superseded as `rejected` with `contract_changed`."""
    marked = judged.join(
        F.broadcast(superseded.withColumn("is_superseded", F.lit(True))), list(COORDINATES), "left"
    )
    is_superseded = F.coalesce("is_superseded", F.lit(False)) & (F.col("verdict") == SILVER)
    because = F.array(F.lit(reasons.CONTRACT_CHANGED))
    return (
        marked.withColumn("reasons", F.when(is_superseded, because).otherwise(F.col("reasons")))
        .withColumn(
            "contract_hash",
            F.when(is_superseded, F.lit(dataset.fingerprint)).otherwise(F.col("contract_hash")),
        )
        .withColumn("verdict", F.when(is_superseded, REJECTED).otherwise(F.col("verdict")))
        .drop("is_superseded")
    )


def with_stored_hashes(judged: DataFrame, quarantine: DataFrame) -> DataFrame:
    """The judged records; `contract_changed` ones that quarantine has keep the hash of the contract of then.

    Args:
        judged: with `verdict`, `reasons` and `contract_hash`.
        quarantine: its rows as they were.
    """
    stored = quarantine.where(F.array_contains("reasons", reasons.CONTRACT_CHANGED)).select(
        *(F.col(INCARNATION if name == "incarnation" else name).alias(name) for name in COORDINATES),
        F.col("contract_hash").alias("stored_hash"),
    )
    is_changed = F.array_contains("reasons", reasons.CONTRACT_CHANGED)
    kept = F.when(is_changed, F.coalesce("stored_hash", "contract_hash")).otherwise(F.col("contract_hash"))
    return (
        judged.join(F.broadcast(stored.dropDuplicates(list(COORDINATES))), list(COORDINATES), "left")
        .withColumn("contract_hash", kept)
        .drop("stored_hash")
    )
