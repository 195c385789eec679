"""The candidate rows of the customers dataset: pure transforms from versions of customers to gold tables.

A version is a row of silver: the event's fields, `defaulted_fields` and the Kafka coordinates. Every function
computes from all versions of the customers it is given, in whatever order they arrived, so candidates of a
customer depend on nothing but that customer's versions: that is why increments equal a rebuild.

Definitions are the contracts' `transformLogic`, evaluated here; this module adds the facts they refer to.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from medallion_contracts.compile.postgres import COORDINATES, GOLD, columns, looked_up, quoted, same_values
from medallion_contracts.compile.spark import spark_schema
from medallion_contracts.loader import load_dataset
from medallion_contracts.model import Column as ContractColumn
from medallion_contracts.model import ColumnType, Table
from medallion_spark.lake.incarnations import with_incarnation
from medallion_spark.lake.silver_at_contract import at_todays_contract

DATASET = load_dataset("customers")
CUSTOMERS = DATASET.gold["customers"]
FEATURES = DATASET.gold["customer_features"]
HISTORY = DATASET.gold["customer_history"]
SEGMENTS = DATASET.gold["segment_hourly"]
VERSION_COLUMNS = (*DATASET.events.column_names, "defaulted_fields", *COORDINATES)
LABEL = "churned"
_PLAN = ("contract", "internet_service", "phone_service")
FACTS = (
    ContractColumn(
        "kept_following", ColumnType.TIMESTAMP, "Start of the next published version, if that stays."
    ),
    ContractColumn("kept_first", ColumnType.TIMESTAMP, "Start of the customer's oldest version that stays."),
    ContractColumn("other_updates_count", ColumnType.LONG, "Versions of the customer beside the rows given."),
    ContractColumn("other_plan_changes", ColumnType.LONG, "Changes of plan among those."),
)
"""What `kept_query` says of the versions that it does not give."""
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


def with_history_beside(versions: DataFrame, published: DataFrame) -> DataFrame:
    """As `with_history_facts`, for new versions beside those of the published ones that they meet.

    Args:
        versions: VERSION_COLUMNS, new to gold.
        published: VERSION_COLUMNS and FACTS of the versions that gold keeps next to those that come or go,
            and of the two newest of each customer.

    Returns:
        The rows of both. valid_to and is_first are right in all of them, the other facts in the newest of
        each customer.
    """
    of_customer = Window.partitionBy("customer_id")
    first = F.least("first_seen_at", F.max("kept_first").over(of_customer))

    def with_other(fact: str) -> Column:
        return F.col(fact) + F.coalesce(F.max(f"other_{fact}").over(of_customer), F.lit(0))

    described = with_history_facts(published.unionByName(versions, allowMissingColumns=True))
    return described.withColumns(
        {
            "valid_to": F.least("valid_to", "kept_following"),
            "first_seen_at": first,
            "is_first": F.col("updated_at") == first,
            "updates_count": with_other("updates_count"),
            "plan_changes": with_other("plan_changes"),
        }
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


def segments(versions: DataFrame) -> DataFrame:
    """segment_hourly of all hours.

    Args:
        versions: rows of `history`, all of them.
    """
    measured = versions.groupBy(*(_defined(SEGMENTS, name) for name in SEGMENTS.primary_key)).agg(
        *(_defined(SEGMENTS, name) for name in _MEASURES)
    )
    return measured.select(
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


def segments_query(versions: str) -> str:
    """SQL of `segments`: the same definitions, evaluated where the rows are, so that none travels.

    Args:
        versions: a FROM item with the rows of `history` of the hours wanted.
    """
    names = (*SEGMENTS.primary_key, *_MEASURES)
    measured = ", ".join(f"{_definition(SEGMENTS, name)} AS {quoted(name)}" for name in names)
    groups = ", ".join(str(position + 1) for position in range(len(SEGMENTS.primary_key)))
    derived = ", ".join(
        f"{quoted(name) if name in names else _definition(SEGMENTS, name)} AS {quoted(name)}"
        for name in SEGMENTS.column_names
    )
    return f"SELECT {derived} FROM (SELECT {measured} FROM {versions} GROUP BY {groups}) AS measured"


def versions_of_history(published: DataFrame) -> DataFrame:
    """Rows of customer_history as the versions they were made of; the coordinates are not kept in gold."""
    silver = spark_schema(DATASET.silver)
    return published.withColumn(DATASET.event_time, F.col(HISTORY.primary_key[1])).select(
        *(name for name in VERSION_COLUMNS if name not in COORDINATES),
        *(F.lit(None).cast(silver[name].dataType).alias(name) for name in COORDINATES),
        *(fact.name for fact in FACTS),
    )


def kept_columns() -> Table:
    """The columns of `kept_query`: those of customer_history, and FACTS."""
    kept = (*HISTORY.columns, *FACTS)
    return Table(HISTORY.name, HISTORY.description, kept, HISTORY.primary_key, (), (), (), "")


def kept_query(touched: str, changed: str) -> str:
    """SQL: the published versions that an increment needs, and what the others of their customers amount to.

    A version needs those before and after it that stay, a customer its two newest (the newest says what is
    known of it, the one before what changed). Counts are those of gold less what the rows found here add to
    them; the caller adds what the same rows and the new ones come to. So an increment costs what it changes,
    however long the histories are.

    Args:
        touched: the staged list of customers.
        changed: the staged list of versions that come or go.
    """
    key, start = (quoted(name) for name in HISTORY.primary_key)
    gold, features = quoted(GOLD, HISTORY.name), quoted(GOLD, FEATURES.name)
    same = same_values(HISTORY.primary_key, "x", "g")
    stays = f"NOT EXISTS (SELECT 1 FROM {changed} AS x WHERE {same})"

    def kept(entity: str, condition: str, order: str, limit: int) -> str:
        return (
            f"(SELECT g.{start} FROM {gold} AS g WHERE g.{key} = {entity}.{key}{condition} AND {stays} "
            f"ORDER BY g.{start} {order} LIMIT {limit})"
        )

    plan = f"ROW({columns(_PLAN)})"
    found = looked_up("near", HISTORY, same_values(HISTORY.primary_key, "g", "s"))
    return (
        f"WITH near AS (SELECT c.{key}, n.{start} FROM {changed} AS c CROSS JOIN LATERAL ("
        f"{kept('c', f' AND g.{start} < c.{start}', 'DESC', 1)} UNION ALL "
        f"{kept('c', f' AND g.{start} > c.{start}', 'ASC', 1)} UNION ALL SELECT c.{start}) AS n "
        f"UNION SELECT t.{key}, n.{start} FROM {touched} AS t "
        f"CROSS JOIN LATERAL {kept('t', '', 'DESC', 2)} AS n), "
        f"found AS (SELECT g.*, NOT ({stays}) AS goes FROM {found}), "
        f"compared AS (SELECT *, {plan} <> lag({plan}) OVER (PARTITION BY {key} ORDER BY {start}) AS differs "
        "FROM found), "
        f"counted AS (SELECT *, count(*) OVER versions AS updates, "
        f"count(*) FILTER (WHERE differs) OVER versions AS changes FROM compared "
        f"WINDOW versions AS (PARTITION BY {key})) "
        f"SELECT {columns(HISTORY.column_names, 'v')}, CASE WHEN NOT EXISTS (SELECT 1 FROM {changed} AS x "
        f"WHERE x.{key} = v.{key} AND x.{start} = v.valid_to) THEN v.valid_to END AS kept_following, "
        f"{kept('v', '', 'ASC', 1)} AS kept_first, f.updates_count - v.updates AS other_updates_count, "
        f"f.plan_changes - v.changes AS other_plan_changes FROM counted AS v CROSS JOIN LATERAL "
        f"(SELECT * FROM {features} AS f WHERE f.{key} = v.{key} OFFSET 0) AS f WHERE NOT v.goes"
    )


def versions_of_silver(silver: DataFrame) -> DataFrame:
    """Rows of silver as versions, as today's contract makes them."""
    return at_todays_contract(with_incarnation(silver), DATASET).select(*VERSION_COLUMNS)


def _newest(described_versions: DataFrame) -> DataFrame:
    return described_versions.where(F.col("valid_to").isNull())


def _defined(table: Table, name: str) -> Column:
    return F.expr(_definition(table, name)).alias(name)


def _definition(table: Table, name: str) -> str:
    return table.column(name).transform or name


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
