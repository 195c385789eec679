"""From judged records to the rows of the lake's tables, and from bronze's rows back to judged records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from medallion_contracts import reasons
from medallion_contracts.compile.arrow import arrow_schema
from medallion_contracts.errors import StreamError
from medallion_contracts.model import INCARNATION, Dataset
from medallion_spark.lake.incarnations import with_incarnation
from medallion_spark.lake.silver_partitions import partition_parts
from medallion_spark.lake.tables import BRONZE_SCHEMA, QUARANTINE_SCHEMA
from medallion_spark.stream.batch_balance import LATE, REJECTED, SILVER
from medallion_spark.stream.source import RECORD_COLUMNS
from medallion_spark.verdicts.deduplicate import COORDINATES
from medallion_spark.verdicts.parse import parse_records
from medallion_store.record_origin import Origin

ORIGIN = ("_query_id", "_batch_id", "ingested_at", "contract_hash")
"""Columns of judged records, as bronze has them: the micro-batch that judged, its clock, its contract."""


JUDGED_COLUMNS = (*RECORD_COLUMNS, "incarnation", *ORIGIN, "verdict", "reasons", "fields", "defaulted")
"""The columns of judged records that the rows of all tables are made of."""


def bronze_rows(judged: pa.Table) -> pa.Table:
    """Bronze's rows of judged records: of every one of them."""
    return pa.table({**_record(judged), **_decision(judged)}).select(BRONZE_SCHEMA.names).cast(BRONZE_SCHEMA)


def silver_rows(judged: pa.Table, dataset: Dataset) -> pa.Table:
    """Silver's rows, in the contract's columns, of the judged records whose verdict it is.

    Raises:
        StreamError: the contract of silver has a column that no record can fill.
    """
    accepted = judged.filter(pc.field("verdict") == SILVER)
    fields = accepted["fields"].combine_chunks()
    utc_time = fields.field(dataset.event_time)
    ours: dict[str, Any] = {
        **{name: fields.field(name) for name in dataset.events.column_names},
        "defaulted_fields": accepted["defaulted"],
        **{f"_{name}": accepted[name] for name in COORDINATES},
        "_query_id": accepted["_query_id"],
        "_batch_id": accepted["_batch_id"],
        "_enqueued_at": accepted["timestamp"],
        "_processed_at": accepted["ingested_at"],
        **{name: pc.call_function(part, [utc_time]) for name, part in partition_parts(dataset).items()},
    }
    schema = arrow_schema(dataset.silver)
    missing = [name for name in schema.names if name not in ours]
    if missing:
        raise StreamError(f"the stream cannot fill silver's {', '.join(missing)}: change its contract")
    return pa.table({name: ours[name] for name in schema.names}).cast(schema)


def quarantine_rows(judged: pa.Table) -> pa.Table:
    """Quarantine's rows of the judged records that go there.

    The same record gets the same id on every execution.
    """
    mine = judged.filter(pc.field("verdict").isin([LATE, REJECTED]))
    coordinates = zip(*(mine[name].to_pylist() for name in COORDINATES), strict=True)
    ids = [hashlib.sha256(str(Origin(*one)).encode()).hexdigest() for one in coordinates]
    ours = {**_record(mine), **_decision(mine), "quarantine_id": pa.array(ids, pa.string())}
    ours["quarantined_at"] = ours.pop("ingested_at")
    return pa.table(ours).select(QUARANTINE_SCHEMA.names).cast(QUARANTINE_SCHEMA)


def _record(judged: pa.Table) -> dict[str, Any]:
    names = {"timestampType": "timestamp_type"}
    columns = {names.get(name, name): judged[name] for name in RECORD_COLUMNS}
    return {**columns, INCARNATION: judged["incarnation"]}


def _decision(judged: pa.Table) -> dict[str, Any]:
    return {
        **{name: judged[name] for name in (*ORIGIN, "verdict", "reasons")},
        "ingest_date": judged["ingested_at"].cast(pa.date32()),
    }


def rows_of(judged: DataFrame, make: Callable[[pa.Table], pa.Table], schema: pa.Schema) -> DataFrame:
    """What `make` makes of judged records, batch by batch, as a frame of `schema`."""

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from make(pa.Table.from_batches([batch])).to_batches()

    return judged.select(*JUDGED_COLUMNS).mapInArrow(rows, from_arrow_schema(schema))


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
    records = (
        with_incarnation(stored)
        .withColumnRenamed("timestamp_type", "timestampType")
        .select(
            *RECORD_COLUMNS,
            F.col(INCARNATION).alias("incarnation"),
            *ORIGIN,
            F.struct("verdict", "reasons").alias("stored"),
        )
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
