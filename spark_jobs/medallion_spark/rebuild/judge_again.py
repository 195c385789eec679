"""Today's verdict on every record of bronze, as if today's contract had held from the beginning."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from medallion_contracts import reasons
from medallion_contracts.model import Dataset
from medallion_spark.stream.batch_balance import DUPLICATE, LATE, REJECTED, SILVER
from medallion_spark.stream.options import StreamOptions
from medallion_spark.verdicts.deduplicate import COORDINATES
from medallion_spark.verdicts.stored_records import BATCH, parse_stored

_ARRIVAL = ("sequence", *COORDINATES)
"""The order in which the stream judged records: by batch, as the ledger counts them, then as within a batch.
Clocks may go back."""


def judge_again(
    stored: DataFrame, sequences: DataFrame, dataset: Dataset, options: StreamOptions, now: datetime
) -> DataFrame:
    """Judge bronze's records again.

    The rules are the stream's, over the whole log instead of batch by batch: the future is that of the
    record's own day; a record that was judged late stays so (who came first does not change), one that the
    old contract had rejected is tested; of each version the first that arrived is kept.

    Args:
        stored: all rows of bronze.
        sequences: `batch_sequences` of them.
        dataset: today's contracts.
        options: the settings that decide verdicts: lateness, watermark, deduplication, unknown fields.
        now: UTC.

    Returns:
        COORDINATES, `ingest_date`, and the structs `before` and `after` of `verdict` and `reasons`.
    """
    parsed = parse_stored(stored, dataset, now=now, reject_unknown=options.reject_unknown_fields)
    parsed = parsed.join(sequences, list(BATCH))
    # Without the raw record: what follows is sorted twice.
    slim = parsed.drop("key", "value", "headers", "defaulted", "unknown")
    is_rejected = F.size("reasons") > 0
    first = slim.withColumn(
        "verdict", F.when(is_rejected, REJECTED).when(_is_late(dataset, options), LATE).otherwise(SILVER)
    )
    judged = _without_repeats(first, dataset)
    if options.deduplicate == "latest":
        judged = _latest_only(judged, dataset)
    return judged.select(*COORDINATES, "ingest_date", "before", F.struct("verdict", "reasons").alias("after"))


def verdict_changes(judged: DataFrame) -> DataFrame:
    """The rows of `judge_again` whose verdict or reasons are not those of before."""
    return judged.where(~F.col("before").eqNullSafe(F.col("after")))


def by_cause(changes: DataFrame, most: int = 100) -> list[dict[str, object]]:
    """How many records went from which verdict to which, with the reasons; the most frequent first."""
    groups = changes.groupBy(_label("before"), _label("after")).count()
    rows = groups.orderBy(F.desc("count"), "before", "after").limit(most).collect()
    return [row.asDict() for row in rows]


def _label(name: str) -> Column:
    """A verdict with its reasons as one text, e.g. `rejected: type:tenure, value:email`."""
    why = F.concat_ws(", ", f"{name}.reasons")
    verdict = F.col(f"{name}.verdict")
    return F.when(why == "", verdict).otherwise(F.concat_ws(": ", verdict, why)).alias(name)


def _is_late(dataset: Dataset, options: StreamOptions) -> Column:
    was_late = F.col("before.verdict") == LATE
    if options.lateness != "judge":
        return was_late
    log = Window.partitionBy("topic", "partition", "incarnation")
    earlier = log.orderBy("offset").rowsBetween(Window.unboundedPreceding, -1)
    limit = F.max("event_time").over(earlier) - F.lit(options.allowed_lateness)
    was_untested = (F.col("before.verdict") == REJECTED) & ~F.array_contains(
        "before.reasons", reasons.CONFLICT
    )
    is_behind = (F.col("topic") == dataset.topic) & (F.col("event_time") < limit)
    return was_late | (was_untested & F.coalesce(is_behind, F.lit(False)))


def _latest_only(judged: DataFrame, dataset: Dataset) -> DataFrame:
    """Only the newest version of an entity in each micro-batch stays; see `find_superseded`."""
    newest = Window.partitionBy("_query_id", "_batch_id", "verdict", f"fields.{dataset.key}").orderBy(
        F.col(f"fields.{dataset.event_time}").desc(), *COORDINATES
    )
    is_superseded = (F.col("verdict") == SILVER) & (F.row_number().over(newest) > 1)
    return judged.withColumn("verdict", F.when(is_superseded, DUPLICATE).otherwise(F.col("verdict")))


def _without_repeats(judged: DataFrame, dataset: Dataset) -> DataFrame:
    """Of accepted records with the same version the first that arrived stays."""
    # Rejected and late records stand alone: their key may be anything.
    is_candidate = F.col("verdict") == SILVER
    version = Window.partitionBy(
        is_candidate,
        F.when(is_candidate, F.col(f"fields.{dataset.key}")).otherwise(F.concat_ws("/", *COORDINATES)),
        F.when(is_candidate, F.col(f"fields.{dataset.event_time}")),
    ).orderBy(*_ARRIVAL)
    is_repeat = is_candidate & (F.row_number().over(version) > 1)
    is_same = F.col("fields").eqNullSafe(F.first("fields").over(version))
    ranked = judged.withColumn("is_repeat", is_repeat).withColumn("is_same", is_same)
    is_duplicate, is_conflict = F.expr("is_repeat AND is_same"), F.expr("is_repeat AND NOT is_same")
    return ranked.withColumn(
        "reasons", F.when(is_conflict, F.array(F.lit(reasons.CONFLICT))).otherwise(F.col("reasons"))
    ).withColumn(
        "verdict", F.when(is_duplicate, DUPLICATE).when(is_conflict, REJECTED).otherwise(F.col("verdict"))
    )
