"""Loading and publishing gold against the usual ways, and an hourly run on ten times the customers.

`make bench-gold` runs this. Ways are compared in one run on the same rows; what must be reached is asserted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from gold_model import DATASET
from gold_runs import GoldRuns
from medallion_contracts.compile.postgres import (
    STAGING,
    columns,
    create_staging,
    publication,
    quoted,
    staged_columns,
    staging_name,
)
from medallion_contracts.compile.spark import spark_schema
from medallion_ops.gold.publication import ROOM_FOR_JOINS
from medallion_ops.migrations.runner import migrate
from medallion_spark.gold import versions as gold
from medallion_spark.gold.copy import copy_in
from medallion_spark.gold.customers import GOLD as TRANSFORMS
from medallion_store.secret import Secret
from services import PostgresServer

pytestmark = pytest.mark.bench
ROWS = 1_000_000
CUSTOMERS = DATASET.gold["customers"]
STAGED = staged_columns(DATASET, CUSTOMERS)
Keep = Callable[[str, Mapping[str, float]], None]


def silver_rows(
    spark: SparkSession, first: int, last: int, moment: str, spread_hours: int, step: int = 1
) -> DataFrame:
    """Made-up rows of silver: every `step`th customer, one version each, spread over hours."""
    number = F.col("id")
    plans = ["Month-to-month", "One year", "Two year"]
    lines = ["DSL", "Fiber optic", "No"]
    fields = {
        "customer_id": F.concat(F.lit("c"), number.cast("string")),
        "gender": F.when(number % 2 == 0, "Female").otherwise("Male"),
        "senior_citizen": number % 7 == 0,
        "partner": number % 2 == 0,
        "dependents": number % 3 == 0,
        "tenure": number % 73,
        "phone_service": F.lit(True),
        "internet_service": F.element_at(F.array(*map(F.lit, lines)), (number % 3 + 1).cast("int")),
        "contract": F.element_at(F.array(*map(F.lit, plans)), (number % 5 % 3 + 1).cast("int")),
        "monthly_charges": 20 + number % 9000 / 100,
        "total_charges": (20 + number % 9000 / 100) * (number % 73),
        "updated_at": F.timestamp_seconds(
            F.unix_timestamp(F.lit(moment).cast("timestamp"))
            + F.pmod(F.xxhash64("id"), F.lit(spread_hours * 3600))
        ),
        "first_name": F.concat(F.lit("First"), (number % 997).cast("string")),
        "last_name": F.concat(F.lit("Last"), (number % 9973).cast("string")),
        "email": F.concat(F.lit("c"), number.cast("string"), F.lit("@example.org")),
        "defaulted_fields": F.array().cast("array<string>"),
        "_topic": F.lit(DATASET.topic),
        "_partition": number % 4,
        "_offset": number,
        "_incarnation": F.lit(0),
        "_query_id": F.lit("query"),
        "_batch_id": F.lit(0),
        "_enqueued_at": F.lit(moment),
        "_processed_at": F.lit(moment),
    }
    types = spark_schema(DATASET.silver)
    made = spark.range(first, last, step, 2).select(
        *(value.cast(types[name].dataType).alias(name) for name, value in fields.items())
    )
    for name in DATASET.silver.partitioned_by:
        made = made.withColumn(name, F.expr(str(DATASET.silver.column(name).transform)).cast("int"))
    return made


def candidate_customers(spark: SparkSession, rows: int) -> DataFrame:
    """Rows of staging.customers, held in memory."""
    versions = gold.versions_of_silver(silver_rows(spark, 0, rows, "2026-05-01", 240), TRANSFORMS)
    frame = gold.entities(
        versions.withColumn("valid_to", F.lit(None)).withColumn("first_seen_at", F.col("updated_at")),
        DATASET.gold["customers"],
        DATASET,
    )
    frame = frame.persist()
    frame.count()
    return frame


@dataclass
class Clock:
    """Seconds of named pieces of work."""

    dsn: str

    def seconds(self, work: Callable[[], object]) -> float:
        """How long some work takes, after a checkpoint so that no way pays for the one before it."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        started = time.monotonic()
        work()
        return time.monotonic() - started

    def execute(self, *statements: str) -> None:
        """Run statements in one transaction."""
        with psycopg.connect(self.dsn) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def count(self, table: str) -> int:
        """Rows of a table."""
        with psycopg.connect(self.dsn) as connection:
            [(rows,)] = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
        return int(rows)


@pytest.fixture
def fresh(postgres_server: PostgresServer, secrets_file: Path) -> Callable[[], Clock]:
    """Makes a migrated database, and lets the jobs log in there."""

    def make() -> Clock:
        dsn = postgres_server.fresh_database()
        secrets_file.write_text(f"MEDALLION_GOLD_DSN={dsn}\n")
        migrate(Secret(dsn), DATASET)
        return Clock(dsn)

    return make


@pytest.fixture
def database(fresh: Callable[[], Clock]) -> Clock:
    return fresh()


def stage(database: Clock, set_id: int) -> str:
    """A new, empty staging table of customers; its qualified name."""
    name = staging_name(set_id, CUSTOMERS.name)
    database.execute(create_staging(name, STAGED))
    return quoted(STAGING, name)


def by_jdbc(frame: DataFrame, dsn: str, table: str) -> None:
    """Spark's own way: JDBC with batches that the driver rewrites to multi-row inserts."""
    parts = conninfo_to_dict(dsn)
    frame.write.format("jdbc").mode("append").options(
        url=f"jdbc:postgresql://{parts['host']}:{parts['port']}/{parts['dbname']}?reWriteBatchedInserts=true",
        dbtable=table,
        user=parts["user"],
        password=parts["password"],
        batchsize="10000",
    ).save()


def by_execute_values(frame: DataFrame, dsn: str) -> None:
    """The usual Python way: psycopg2's execute_values with ON CONFLICT, from each partition."""
    names = CUSTOMERS.column_names
    changes = ", ".join(
        f"{quoted(n)} = excluded.{quoted(n)}" for n in names if n not in CUSTOMERS.primary_key
    )
    statement = (
        f"INSERT INTO gold.customers ({columns(names)}) VALUES %s "
        f"ON CONFLICT ({columns(CUSTOMERS.primary_key)}) DO UPDATE SET {changes}"
    )

    def upsert(rows: Iterable[Row]) -> None:
        import psycopg2
        from psycopg2.extras import execute_values

        with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
            execute_values(cursor, statement, (tuple(row) for row in rows), page_size=1000)

    frame.select(*names).foreachPartition(upsert)


def test_staging_load(spark: SparkSession, database: Clock, keep: Keep) -> None:
    frame = candidate_customers(spark, ROWS)
    # Once for each way before it counts: the JVM and the Python workers warm up, the files exist.
    for set_id in (1, 3):
        table = stage(database, set_id)
        jdbc = database.seconds(partial(by_jdbc, frame, database.dsn, table))
        assert database.count(table) == ROWS
        table = stage(database, set_id + 1)
        copy = database.seconds(partial(copy_in, frame, set_id + 1, CUSTOMERS.name, STAGED))
        assert database.count(table) == ROWS
    frame.unpersist()
    keep(
        "gold_staging_load",
        {
            "rows": ROWS,
            "Spark JDBC append, reWriteBatchedInserts: seconds": jdbc,
            "COPY from the executors: seconds": copy,
            "ratio (at least 1.5)": jdbc / copy,
        },
    )
    assert jdbc / copy >= 1.5


def put_back(database: Clock, stored: str | None) -> None:
    """Gold as both ways find it: empty, or with the rows of that table."""
    names = columns(CUSTOMERS.column_names)
    database.execute("TRUNCATE gold.customers")
    if stored:
        database.execute(f"INSERT INTO gold.customers ({names}) SELECT {names} FROM {stored}")
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE gold.customers")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("every_row_is_stored", [False, True], ids=["empty", "all_changed"])
def test_load_and_upsert(spark: SparkSession, database: Clock, keep: Keep, every_row_is_stored: bool) -> None:
    frame = candidate_customers(spark, ROWS)
    stored = None
    if every_row_is_stored:
        # The versions of a day before: each row of the load is an update of one.
        stored = stage(database, 1)
        older = frame.withColumn("updated_at", F.col("updated_at") - F.expr("INTERVAL 1 DAY"))
        copy_in(older.withColumn("tenure", F.col("tenure") + 1), 1, CUSTOMERS.name, STAGED)
    by_execute_values(frame.limit(1000), database.dsn)
    put_back(database, stored)
    usual = database.seconds(lambda: by_execute_values(frame, database.dsn))
    assert database.count("gold.customers") == ROWS
    put_back(database, stored)
    statements = publication(DATASET, CUSTOMERS, 2, whole=True)
    table = stage(database, 2)

    def ours() -> None:
        copy_in(frame, 2, CUSTOMERS.name, STAGED)
        database.execute(
            f"ANALYZE {table}", ROOM_FOR_JOINS, statements.delete, statements.update, statements.insert
        )

    load = database.seconds(ours)
    assert database.count("gold.customers") == ROWS
    assert (
        database.count(f"gold.customers AS g JOIN {table} AS s USING (customer_id, updated_at, tenure)")
        == ROWS
    )
    frame.unpersist()
    # Postgres's own update of a row, which both ways share, takes most of the time when all are stored.
    least = 2 if every_row_is_stored else 3
    keep(
        "gold_load_and_update" if every_row_is_stored else "gold_load_and_upsert",
        {
            "rows": ROWS,
            "psycopg2 execute_values ON CONFLICT: seconds": usual,
            "COPY, then publish: seconds": load,
            f"ratio (at least {least})": usual / load,
        },
    )
    assert usual / load >= least


def hourly_run(runs: GoldRuns, customers: int, changed: int) -> Iterator[tuple[str, float]]:
    """Publish so many customers, then hours in which some of them changed; names and seconds of the steps."""

    def append(first: int, last: int, step: int, moment: str, hours: int) -> None:
        rows = silver_rows(runs.spark, first, last, moment, hours, step).repartition("day", "hour")
        rows.write.format("delta").mode("append").option("delta.enableChangeDataFeed", "true").partitionBy(
            *DATASET.silver.partitioned_by
        ).save(runs.silver)

    every = customers // changed
    append(0, customers, 1, "2026-05-01", 48)
    yield "first publication", _timed(runs)
    append(0, customers, every, "2026-05-04 10:00:00", 1)
    yield "an hour to warm up", _timed(runs)
    append(0, customers, every, "2026-05-04 11:00:00", 1)
    yield "the hour measured", _timed(runs)


def _timed(runs: GoldRuns) -> float:
    started = time.monotonic()
    runs.run()
    return time.monotonic() - started


@pytest.mark.timeout(3600)
def test_hourly_run_follows_the_increment(
    spark: SparkSession, fresh: Callable[[], Clock], tmp_path: Path, keep: Keep
) -> None:
    figures: dict[str, float] = {"changed customers": 50_000}
    for customers in (200_000, 2_000_000):
        runs = GoldRuns(spark, fresh().dsn, tmp_path / str(customers))
        for step, seconds in hourly_run(runs, customers, 50_000):
            figures[f"{customers:,} customers, {step}: seconds"] = seconds
    small, large = (
        figures[f"{size:,} customers, the hour measured: seconds"] for size in (200_000, 2_000_000)
    )
    figures["ratio (at most 1.2)"] = large / small
    keep("gold_hourly_run", figures)
    assert large / small <= 1.2


DEEP_CUSTOMERS = 2_000


def deep_run(runs: GoldRuns, depth: int) -> Iterator[tuple[str, float]]:
    """Publish customers with so many versions each, a minute apart, then hours in which each changed once."""

    def append(rows: DataFrame) -> None:
        rows.repartition("day", "hour").write.format("delta").mode("append").option(
            "delta.enableChangeDataFeed", "true"
        ).partitionBy(*DATASET.silver.partitioned_by).save(runs.silver)

    number = F.substring("customer_id", 2, 20).cast("long")
    first = F.unix_timestamp(F.lit("2026-05-01").cast("timestamp"))
    minutes = (number / DEEP_CUSTOMERS).cast("long")
    history = (
        silver_rows(runs.spark, 0, DEEP_CUSTOMERS * depth, "2026-05-01", 1)
        .withColumn("updated_at", F.timestamp_seconds(first + 60 * minutes))
        .withColumn("customer_id", F.concat(F.lit("c"), (number % DEEP_CUSTOMERS).cast("string")))
    )
    for name in DATASET.silver.partitioned_by:
        history = history.withColumn(name, F.expr(str(DATASET.silver.column(name).transform)).cast("int"))
    append(history)
    yield "first publication", _timed(runs)
    for step, moment in (("an hour to warm up", "10:00"), ("the hour measured", "11:00")):
        append(silver_rows(runs.spark, 0, DEEP_CUSTOMERS, f"2026-05-04 {moment}:00", 1))
        yield step, _timed(runs)


@pytest.mark.timeout(3600)
def test_hourly_run_does_not_follow_the_depth_of_history(
    spark: SparkSession, fresh: Callable[[], Clock], tmp_path: Path, keep: Keep
) -> None:
    figures: dict[str, float] = {"customers, each changed once": DEEP_CUSTOMERS}
    for depth in (1, 100, 1_000):
        runs = GoldRuns(spark, fresh().dsn, tmp_path / str(depth))
        for step, seconds in deep_run(runs, depth):
            figures[f"{depth:,} versions, {step}: seconds"] = seconds
    flat, deep = (figures[f"{depth:,} versions, the hour measured: seconds"] for depth in (1, 1_000))
    figures["ratio (at most 1.3)"] = deep / flat
    keep("gold_depth_of_history", figures)
    assert deep / flat <= 1.3
