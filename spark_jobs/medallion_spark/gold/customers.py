"""The candidate rows of the customers dataset: pure transforms from versions of customers to gold tables.

A version is a row of silver: the event's fields, `defaulted_fields` and the Kafka coordinates. Every function
computes from all versions of the customers it is given, in whatever order they arrived, so candidates of a
customer depend on nothing but that customer's versions: that is why increments equal a rebuild.

Definitions are the contracts' `transformLogic`, evaluated here; this module adds the facts they refer to.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from medallion_contracts.compile.postgres import COORDINATES, looked_up, quoted
from medallion_contracts.compile.spark import spark_schema
from medallion_contracts.loader import load_dataset
from medallion_contracts.model import Table
from medallion_spark.lake.incarnations import with_incarnation

DATASET = load_dataset("customers")
CUSTOMERS = DATASET.gold["customers"]
FEATURES = DATASET.gold["customer_features"]
HISTORY = DATASET.gold["customer_history"]
SEGMENTS = DATASET.gold["segment_hourly"]
VERSION_COLUMNS = (*DATASET.events.column_names, "defaulted_fields", *COORDINATES)
LABEL = "churned"
_PLAN = ("contract", "internet_service", "phone_service")
_MEASURES = ("updates", "customers", "new_customers", "monthly_charges_sum")


def with_history_facts(versions: DataFrame) -> DataFrame:
    """Versions with what the history of their customer says of them.

    Args:
        versions: VERSION_COLUMNS; (customer_id, updated_at) is unique.

    Returns:
        The same rows, with valid_to (null for the newest), is_first, first_seen_at,
        previous_monthly_charges (null for a first version), plan_changes and updates_count (both up to and
        including the version).
    """
    in_order = Window.partitionBy("customer_id").orderBy("updated_at")
    so_far = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    position = F.row_number().over(in_order)
    plan = F.struct(*_PLAN)
    return (
        versions.withColumn("valid_to", F.lead("updated_at").over(in_order))
        .withColumn("updates_count", position)
        .withColumn("is_first", position == 1)
        .withColumn("first_seen_at", F.first("updated_at").over(so_far))
        .withColumn("previous_monthly_charges", F.lag("monthly_charges").over(in_order))
        .withColumn("plan_changed", (F.lag(plan).over(in_order) != plan).cast("int"))
        .withColumn("plan_changes", F.coalesce(F.sum("plan_changed").over(so_far), F.lit(0)))
        .drop("plan_changed")
    )


def history(described_versions: DataFrame) -> DataFrame:
    """customer_history: every version, with the Kafka coordinates."""
    return _as_contract(described_versions, HISTORY, COORDINATES)


def customers(described_versions: DataFrame) -> DataFrame:
    """customers: the newest version of each, with the Kafka coordinates."""
    return _as_contract(_newest(described_versions), CUSTOMERS, COORDINATES)


def features(described_versions: DataFrame, labels: DataFrame) -> DataFrame:
    """customer_features: what the newest version and the history of each customer say, and its label.

    Args:
        described_versions: see `with_history_facts`.
        labels: customer_id (unique), churned.
    """
    newest = _newest(described_versions).join(labels, "customer_id", "left")
    return _as_contract(newest, FEATURES, COORDINATES)


def segments(versions_of_hours: DataFrame, rest: DataFrame | None) -> DataFrame:
    """segment_hourly of the hours given.

    Args:
        versions_of_hours: rows of `history` in these hours.
        rest: key and additive measures of segment_hourly over all other versions of these hours, by
            customers that have no row in `versions_of_hours`, None when there are none. Distinct customers
            add up because of that.
    """
    own = versions_of_hours.groupBy(*(_defined(SEGMENTS, name) for name in SEGMENTS.primary_key)).agg(
        *(_defined(SEGMENTS, name) for name in _MEASURES)
    )
    summed = (
        (own if rest is None else own.unionByName(rest))
        .groupBy(*SEGMENTS.primary_key)
        .agg(*(F.sum(name).alias(name) for name in _MEASURES))
    )
    return summed.select(
        *(
            (
                F.col(column.name)
                if column.name in _MEASURES + SEGMENTS.primary_key
                else F.expr(str(column.transform))
            )
            .cast(spark_schema(SEGMENTS)[column.name].dataType)
            .alias(column.name)
            for column in SEGMENTS.columns
        )
    )


def rest_columns() -> Table:
    """The columns of `rest_query`: key and additive measures of segment_hourly."""
    names = (*SEGMENTS.primary_key, *_MEASURES)
    kept = tuple(SEGMENTS.column(name) for name in names)
    return Table(SEGMENTS.name, SEGMENTS.description, kept, SEGMENTS.primary_key, (), (), (), "")


def rest_query(hours: str, touched: str) -> str:
    """SQL: `rest` of `segments` from published history, for staged hours, without the touched customers.

    The same definitions as Spark's, evaluated where the rows are: only sums travel.
    """
    valid_from = quoted(HISTORY.primary_key[1])
    hour = quoted(SEGMENTS.primary_key[0])
    key = quoted(DATASET.key)
    names = (*SEGMENTS.primary_key, *_MEASURES)
    selected = ", ".join(
        f"{SEGMENTS.column(name).transform or quoted(name)} AS {quoted(name)}" for name in names
    )
    in_hour = f"g.{valid_from} >= s.{hour} AND g.{valid_from} < s.{hour} + interval '1 hour'"
    return (
        f"SELECT {selected} FROM (SELECT g.* FROM {looked_up(hours, HISTORY, in_hour)} "
        f"WHERE NOT EXISTS (SELECT 1 FROM {touched} AS c WHERE c.{key} = g.{key})) AS v "
        f"GROUP BY {', '.join(str(position + 1) for position in range(len(SEGMENTS.primary_key)))}"
    )


def hour_of(valid_from: str) -> Column:
    """The segment hour of a timestamp column."""
    return F.date_trunc("hour", valid_from).alias(SEGMENTS.primary_key[0])


def versions_of_history(published: DataFrame) -> DataFrame:
    """Rows of customer_history as the versions they were made of; the coordinates are not kept in gold."""
    silver = spark_schema(DATASET.silver)
    return published.withColumn(DATASET.event_time, F.col(HISTORY.primary_key[1])).select(
        *(name for name in VERSION_COLUMNS if name not in COORDINATES),
        *(F.lit(None).cast(silver[name].dataType).alias(name) for name in COORDINATES),
    )


def versions_of_silver(silver: DataFrame) -> DataFrame:
    """Rows of silver as versions; a field younger than the row has the contract's default."""
    defaults = {c.name: c.default for c in DATASET.events.columns if c.default is not None}
    silver = with_incarnation(silver)
    stored = set(silver.columns)
    types = spark_schema(DATASET.silver)
    return silver.select(
        *(
            F.coalesce(F.col(name) if name in stored else F.lit(None), F.lit(defaults.get(name)))
            .cast(types[name].dataType)
            .alias(name)
            if name in defaults
            else F.col(name)
            for name in VERSION_COLUMNS
        )
    )


def _newest(described_versions: DataFrame) -> DataFrame:
    return described_versions.where(F.col("valid_to").isNull())


def _defined(table: Table, name: str) -> Column:
    return F.expr(table.column(name).transform or name).alias(name)


def _as_contract(frame: DataFrame, table: Table, extra: tuple[str, ...] = ()) -> DataFrame:
    """The table's columns by their definitions and of their types, then the extra ones."""
    types = spark_schema(table)
    return frame.select(
        *(
            F.expr(column.transform or column.name).cast(types[column.name].dataType).alias(column.name)
            for column in table.columns
        ),
        *extra,
    )
