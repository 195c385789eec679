"""Gives the ledger the rows that it lacks of batches in bronze: a ledger that is gone, or older than bronze.

The newest batch of bronze is left to whoever finishes it (a recovery, or the stream when Spark runs it
again): silver and quarantine may lack its rows. Every batch before it is whole, because a batch begins only
when the ledger has the one before.

All rows come in one commit, which also creates a missing table. Killed before it, nothing has happened; after
it, the next look finds nothing to do.

What became of offsets without a record (gaps, lost, compacted) bronze's commits have noted, as far back as
its log goes; before that they count as gaps, and the log says how many. What bronze does not hold is left
empty: durations, names of unknown fields, the versions of the tables' commits.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cmp_to_key
from itertools import islice
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts import reasons
from medallion_contracts.model import INCARNATION, Dataset
from medallion_spark.lake.incarnations import with_incarnation
from medallion_spark.lake.tables import LakeTable, StreamTables
from medallion_spark.stream.batch_balance import REJECTED, SILVER, VERDICTS
from medallion_spark.stream.batch_writer import most_frequent
from medallion_spark.stream.ledger import (
    KnownLog,
    Ledger,
    LedgerRow,
    PartitionOffsets,
    Sources,
    StreamPosition,
)
from medallion_spark.stream.offset_account import untouched
from medallion_spark.stream.offset_notes import SOURCES_NOTE, accounted_before
from medallion_spark.verdicts.deduplicate import COORDINATES
from medallion_spark.verdicts.parse import key_mismatch
from medallion_spark.verdicts.stored_records import BATCH, parse_stored

Batch = tuple[str, int]
"""Query and number of a micro-batch."""

_log = logging.getLogger(__name__)


def bronze_batches(bronze: LakeTable) -> Iterator[Batch]:
    """The batches that bronze's commits name, the newest first."""
    for commit in bronze.newest_commits():
        batch = _batch_of(commit.label, bronze)
        if batch is not None:
            yield batch


def _batch_of(label: str, bronze: LakeTable) -> Batch | None:
    """The batch that a commit's label names, as `LakeTable.append` writes it."""
    parts = label.split(":")
    return (parts[0], int(parts[2])) if len(parts) == 4 and parts[1] == bronze.name else None


def complete_ledger(spark: SparkSession, dataset: Dataset, tables: StreamTables, ledger: Ledger) -> int:
    """Add the rows of the batches that bronze has and the ledger lacks, all but the newest batch.

    Args:
        spark: the session.
        dataset: today's contracts.
        tables: bronze must be there.
        ledger: created if it is missing.

    Returns:
        how many rows were added.
    """
    if ledger.exists() and ledger.has_rows():
        newest = list(islice(bronze_batches(tables.bronze), 2))
        if len(newest) < 2 or _has(ledger, newest[1]):
            return 0
    stored = (
        spark.read.format("delta").option("versionAsOf", tables.bronze.version()).load(tables.bronze.path)
    )
    rows, holes = _rows(_without_known(stored, ledger), dataset, tables, ledger)
    if rows:
        ledger.append_all(rows)
        _report(rows, holes, ledger)
    ledger.prepare()
    return len(rows)


def _has(ledger: Ledger, batch: Batch) -> bool:
    done = ledger.last_batch(batch[0])
    return done is not None and done >= batch[1]


def _without_known(stored: DataFrame, ledger: Ledger) -> DataFrame:
    for query_id, batch_id in ledger.last_batches().items() if ledger.exists() else ():
        stored = stored.where((F.col("_query_id") != query_id) | (F.col("_batch_id") > batch_id))
    return stored


def _rows(
    stored: DataFrame, dataset: Dataset, tables: StreamTables, ledger: Ledger
) -> tuple[list[LedgerRow], int]:
    """The rows that the ledger lacks, and how many holes in offsets no note explains."""
    # On disk, without the raw bytes: two questions are asked.
    records = _as_counted(stored, dataset, tables).persist(StorageLevel.DISK_ONLY)
    try:
        batches = _by_batch(_summarise(records))
        by_reason = _by_batch(
            records.select(*BATCH, F.explode("reasons").alias("reason")).groupBy(*BATCH, "reason").count()
        )
    finally:
        records.unpersist()
    position = ledger.carried() if ledger.exists() else StreamPosition()
    rows: list[LedgerRow] = []
    holes = 0
    notes = _offset_notes(tables.bronze, batches)
    for batch in in_order(batches)[:-1]:
        found = {row["reason"]: row["count"] for row in by_reason.get(batch, ())}
        known = accounted_before(notes[batch], position.sources) if batch in notes else {}
        sources = known or _sources(batches[batch], position.sources)
        holes += 0 if known else sum(source.gaps for source in sources.values())
        row = _row(batch, batches[batch], found, sources, position.sequence + 1)
        position = StreamPosition(row.sequence, {(s.topic, s.partition): s for s in row.sources})
        rows.append(row)
    return rows, holes


def _by_batch(frame: DataFrame) -> dict[Batch, list[dict[str, Any]]]:
    found: dict[Batch, list[dict[str, Any]]] = {}
    for row in frame.toArrow().to_pylist():
        found.setdefault((row[BATCH[0]], row[BATCH[1]]), []).append(row)
    return found


def _as_counted(stored: DataFrame, dataset: Dataset, tables: StreamTables) -> DataFrame:
    """The records with the verdicts that the stream counted: `rejected` where no row could be made."""
    records = parse_stored(stored, dataset).select(
        *COORDINATES,
        *BATCH,
        "before.verdict",
        "before.reasons",
        "ingested_at",
        "contract_hash",
        "event_time",
        key_mismatch(dataset).alias("key_mismatch"),
        (F.size("unknown") > 0).alias("with_unknown"),
    )
    if not tables.quarantine.exists():
        return records
    changed = with_incarnation(stored.sparkSession.read.format("delta").load(tables.quarantine.path))
    changed = changed.where(F.array_contains("reasons", reasons.CONTRACT_CHANGED)).select(
        *(F.col(INCARNATION if name == "incarnation" else name).alias(name) for name in COORDINATES),
        F.lit(True).alias("changed"),
    )
    is_changed = F.coalesce("changed", F.lit(False)) & (F.col("verdict") == SILVER)
    because = F.array(F.lit(reasons.CONTRACT_CHANGED))
    return (
        records.join(F.broadcast(changed), list(COORDINATES), "left")
        .withColumn("reasons", F.when(is_changed, because).otherwise(F.col("reasons")))
        .withColumn("verdict", F.when(is_changed, REJECTED).otherwise(F.col("verdict")))
    )


def _summarise(records: DataFrame) -> DataFrame:
    """The numbers of each batch and Kafka partition."""
    return records.groupBy(*BATCH, "topic", "partition", "incarnation").agg(
        F.count(F.lit(1)).alias("rows"),
        *(F.count_if(F.col("verdict") == verdict).alias(verdict) for verdict in VERDICTS),
        F.count_if("key_mismatch").alias("key_mismatch"),
        F.count_if("with_unknown").alias("with_unknown"),
        F.min("offset").alias("smallest_offset"),
        F.max("offset").alias("largest_offset"),
        F.max("event_time").alias("watermark"),
        F.max("ingested_at").alias("at"),
        F.max("contract_hash").alias("contract_hash"),
    )


def in_order(batches: Mapping[Batch, Sequence[Mapping[str, Any]]]) -> list[Batch]:
    """The batches in the order in which they were read.

    A query counts its batches. Of two queries that read the same Kafka partition the one at smaller offsets
    came first, whatever the clocks said; clocks decide where they share none.

    Args:
        batches: by query and number, with `topic`, `partition`, `smallest_offset` and `at` of each partition.
    """
    starts: dict[str, dict[tuple[str, int], tuple[int, int]]] = {}
    clocks: dict[str, Any] = {}
    for (query, _), rows in batches.items():
        first = starts.setdefault(query, {})
        for row in rows:
            where = (row["topic"], row["partition"])
            at = (row.get("incarnation", 0), row["smallest_offset"])
            first[where] = min(first.get(where, at), at)
            clocks[query] = min(clocks.get(query, row["at"]), row["at"])

    def compare(one: str, other: str) -> int:
        shared = sorted(starts[one].keys() & starts[other].keys())
        if shared:
            return -1 if starts[one][shared[0]] < starts[other][shared[0]] else 1
        return -1 if clocks[one] < clocks[other] else 1

    queries = {query: place for place, query in enumerate(sorted(starts, key=cmp_to_key(compare)))}
    return sorted(batches, key=lambda batch: (queries[batch[0]], batch[1]))


def _offset_notes(bronze: LakeTable, batches: Collection[Batch]) -> dict[Batch, str]:
    """What was noted of the batches' offsets when bronze took them in, as far back as its log goes."""
    found: dict[Batch, str] = {}
    for commit in bronze.newest_commits():
        if len(found) == len(batches):
            break
        batch = _batch_of(commit.label, bronze)
        note = commit.info.get(SOURCES_NOTE)
        if batch is not None and batch in batches and note is not None:
            found[batch] = str(note)
    return found


def _row(
    batch: Batch,
    rows: Sequence[Mapping[str, Any]],
    by_reason: Mapping[str, int],
    sources: Sources,
    sequence: int,
) -> LedgerRow:
    clock = max(row["at"] for row in rows)

    def total(name: str) -> int:
        return sum(row[name] for row in rows)

    return LedgerRow(
        sequence=sequence,
        query_id=batch[0],
        batch_id=batch[1],
        contract_hash=max(row["contract_hash"] for row in rows),
        started_at=clock,
        committed_at=clock,
        duration_seconds=0.0,
        is_derived=True,
        sources=tuple(sorted(sources.values(), key=lambda source: (source.topic, source.partition))),
        read=total("rows"),
        silver=total(SILVER),
        duplicate=total("duplicate"),
        late=total("late"),
        rejected=total(REJECTED),
        gaps=sum(source.gaps for source in sources.values()),
        lost=sum(source.lost for source in sources.values()),
        logs=tuple(
            KnownLog(topic, number)
            for topic, number in sorted({(one.topic, one.incarnation) for one in sources.values()})
            if number
        ),
        compacted=sum(source.compacted for source in sources.values()),
        rejected_by_reason=most_frequent(by_reason),
        unknown_fields={},
        with_unknown_fields=total("with_unknown"),
        key_mismatch=total("key_mismatch"),
        commits=(),
        event_to_silver_p50=None,
        event_to_silver_p95=None,
        event_to_silver_max=None,
    )


def _sources(rows: Sequence[Mapping[str, Any]], before: Sources) -> dict[tuple[str, int], PartitionOffsets]:
    """What the batch did with each partition's offsets, as far as its records show: holes are gaps."""
    found = {}
    for where, source in before.items():
        found[where] = untouched(source)
    for row in rows:
        where, until = (row["topic"], row["partition"]), row["largest_offset"] + 1
        earlier = found.get(where)
        if earlier is not None and earlier.incarnation != row["incarnation"]:
            earlier = None  # offsets of another log
        start = earlier.until_offset if earlier else row["smallest_offset"]
        marks = [row["watermark"], earlier.watermark if earlier else None]
        found[where] = PartitionOffsets(
            *where,
            start,
            until,
            read=row["rows"],
            gaps=until - start - row["rows"],
            watermark=max((mark for mark in marks if mark is not None), default=None),
            incarnation=row["incarnation"],
        )
    return found


def _report(rows: Sequence[LedgerRow], holes: int, ledger: Ledger) -> None:
    _log.warning(
        "%s: %d rows were made from bronze, of %d records",
        ledger.path,
        len(rows),
        sum(row.read for row in rows),
    )
    if holes:
        _log.warning(
            "%d offsets without a record in bronze, of which no note is left, count as gaps; whether records "
            "were lost there only the earlier ledger knew",
            holes,
        )
