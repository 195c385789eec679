"""The ways of the stream bench that are not ours: `stream_ways.py WAY BOOTSTRAP TOPIC FOLDER [COUNT]`.

    fill    put COUNT events into the topic
    bare    Kafka -> from_json -> Parquet: the limit, nothing is checked
    plain   Kafka -> Delta, then Delta -> from_json -> watermark, dropDuplicates (RocksDB) -> Delta

`bare` and `plain` end when the topic is read, and print a line of JSON: seconds and rows of each batch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.compile.spark import spark_schema
from medallion_contracts.loader import load_dataset

BATCH = 250_010  # a little more, as Kafka rounds down each partition's share
EVENTS_A_SECOND = 100
SCHEMA = spark_schema(load_dataset("customers").events)


def events(spark: SparkSession, count: int) -> DataFrame:
    """So many events of 200,000 customers, EVENTS_A_SECOND, the last one now; 1% repeats, 0.5% broken."""

    def pick(seed: int, *values: str) -> str:
        listed = ", ".join(f"'{value}'" for value in values)
        return f"element_at(array({listed}), cast(pmod(xxhash64(n, {seed}), {len(values)}) as int) + 1)"

    def number(seed: int, below: int) -> str:
        return f"pmod(xxhash64(n, {seed}), {below})"

    moments = f"unix_micros(current_timestamp()) - ({count} - n) * {1_000_000 // EVENTS_A_SECOND}"
    ids = spark.range(0, count, 1, 1).selectExpr("id", "if(id % 100 = 99, id - 1, id) as n")
    fields = {
        "customer_id": f"concat('C', lpad({number(1, 200_000)}, 9, '0'))",
        "gender": pick(2, "Male", "Female"),
        "senior_citizen": f"{number(3, 2)} = 0",
        "partner": f"{number(4, 2)} = 0",
        "dependents": f"{number(5, 2)} = 0",
        "tenure": f"cast({number(6, 73)} as int)",
        "phone_service": f"{number(7, 2)} = 0",
        "internet_service": pick(8, "DSL", "Fiber optic", "No"),
        "contract": pick(9, "Month-to-month", "One year", "Two year"),
        "monthly_charges": f"cast(20 + {number(10, 9900)} / 100.0 as decimal(10,2))",
        "total_charges": f"cast(20 + {number(11, 900_000)} / 100.0 as decimal(12,2))",
        "updated_at": f"date_format(timestamp_micros({moments}), \"yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'\")",
        "first_name": pick(12, "Ada", "Grace", "Linus", "Edsger", "Barbara", "José"),
        "last_name": f"concat('Name', {number(13, 10_000)})",
        "email": "concat('user', n, '@example.org')",
    }
    columns = ", ".join(f"'{name}', {expression}" for name, expression in fields.items())
    return ids.selectExpr(
        f"{fields['customer_id']} as key",
        f"if(id % 200 = 7, '{{\"customer_id\": 1}}', to_json(named_struct({columns}))) as value",
    )


def fill(spark: SparkSession, bootstrap: str, topic: str, count: int) -> None:
    """Put the events into the topic."""
    sink = events(spark, count).write.format("kafka").option("kafka.bootstrap.servers", bootstrap)
    sink.option("topic", topic).option("kafka.linger.ms", 20).option("kafka.batch.size", 200_000).save()


def kafka(spark: SparkSession, bootstrap: str, topic: str) -> DataFrame:
    """The topic as a stream."""
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", bootstrap)
    source = source.option("subscribe", topic).option("startingOffsets", "earliest")
    return source.option("maxOffsetsPerTrigger", BATCH).load()


def run_out(
    rows: DataFrame, sink: str, folder: str, partitions: tuple[str, ...] = ()
) -> list[dict[str, float]]:
    """Run a query until its source is read; seconds and rows of its micro-batches with data."""
    writer = rows.writeStream.format(sink).option("checkpointLocation", f"{folder}-checkpoint")
    query = writer.partitionBy(*partitions).trigger(availableNow=True).start(folder)
    query.awaitTermination()
    progresses: list[Mapping[str, Any]] = [json.loads(progress.json) for progress in query.recentProgress]
    return [
        {"seconds": progress["durationMs"]["triggerExecution"] / 1000, "rows": progress["numInputRows"]}
        for progress in progresses
        if progress["numInputRows"]
    ]


def bare(spark: SparkSession, bootstrap: str, topic: str, folder: str) -> dict[str, list[dict[str, float]]]:
    """Kafka -> from_json -> Parquet."""
    parsed = kafka(spark, bootstrap, topic).select(
        F.from_json(F.col("value").cast("string"), SCHEMA).alias("e")
    )
    return {"bare": run_out(parsed.select("e.*"), "parquet", f"{folder}/bare")}


def plain(spark: SparkSession, bootstrap: str, topic: str, folder: str) -> dict[str, list[dict[str, float]]]:
    """The medallion of the tutorials: two queries, one after the other so that each has both cores."""
    spark.conf.set(
        "spark.sql.streaming.stateStore.providerClass",
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    )
    bronze = run_out(kafka(spark, bootstrap, topic), "delta", f"{folder}/bronze")
    stored = spark.readStream.format("delta").option("maxFilesPerTrigger", 4).load(f"{folder}/bronze")
    parsed = stored.select(F.from_json(F.col("value").cast("string"), SCHEMA).alias("e")).select("e.*")
    distinct = parsed.withWatermark("updated_at", "10 minutes").dropDuplicates(["customer_id", "updated_at"])
    hours = {name: F.call_function(name, F.col("updated_at")) for name in ("year", "month", "day", "hour")}
    return {
        "bronze": bronze,
        "silver": run_out(distinct.withColumns(hours), "delta", f"{folder}/silver", tuple(hours)),
    }


def main() -> None:
    """Run one way."""
    way, bootstrap, topic, folder, *more = sys.argv[1:]
    settings = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
    }
    builder = SparkSession.builder.appName(way)
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    if way == "fill":
        fill(spark, bootstrap, topic, int(more[0]))
    else:
        found = {"bare": bare, "plain": plain}[way](spark, bootstrap, topic, folder)
        print(f"\n{json.dumps(found)}")
    spark.stop()


if __name__ == "__main__":
    main()
