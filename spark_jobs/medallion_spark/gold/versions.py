"""The candidate rows of a dataset: pure transforms from versions of its entities to gold tables.

A version is a row of silver: the event's fields, `defaulted_fields` and the Kafka coordinates. Every function
computes from all versions of the entities it is given, in whatever order they arrived, so the candidates of
an entity depend on nothing but that entity's versions: that is why increments equal a rebuild.

Definitions are the contracts' `transformLogic`, evaluated here; the facts about an entity's history that they
refer to are added here, as the dataset's module declares them.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from medallion_contracts.compile.postgres import COORDINATES, quoted
from medallion_contracts.compile.spark import spark_schema
from medallion_contracts.grain import Grain, derived_columns, source_of, tables_of
from medallion_contracts.model import Dataset, Table
from medallion_spark.gold.transforms import PREVIOUS, GoldTransforms
from medallion_spark.lake.incarnations import with_incarnation
from medallion_spark.lake.silver_at_contract import at_todays_contract


def versions_of_silver(silver: DataFrame, gold: GoldTransforms) -> DataFrame:
    """Rows of silver as versions, as today's contract makes them."""
    return at_todays_contract(with_incarnation(silver), gold.dataset).select(*gold.version_columns)


def with_history_facts(versions: DataFrame, gold: GoldTransforms) -> DataFrame:
    """Versions with what the history of their entity says of them.

    Args:
        versions: `version_columns`; key and event time are unique.
        gold: what the dataset declares.

    Returns:
        The same rows, with valid_to (null for the newest), is_first, first_seen_at, `previous_` columns (null
        for a first version) and the counters (up to and including the version).
    """
    time = gold.dataset.event_time
    in_order = Window.partitionBy(gold.dataset.key).orderBy(time)
    so_far = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    position = F.row_number().over(in_order)

    flags = {
        f"_{name}": (F.lag(F.struct(*changed)).over(in_order) != F.struct(*changed)).cast("int")
        for name, changed in gold.counters.items()
        if changed
    }
    described = versions.withColumns(
        {
            "valid_to": F.lead(time).over(in_order),
            "is_first": position == 1,
            "first_seen_at": F.first(time).over(so_far),
            **{f"{PREVIOUS}{name}": F.lag(name).over(in_order) for name in gold.previous},
            **{name: position for name, changed in gold.counters.items() if not changed},
            **flags,
        }
    )
    summed = {name[1:]: F.coalesce(F.sum(name).over(so_far), F.lit(0)) for name in flags}
    return described.withColumns(summed).drop(*flags)


def with_history_beside(versions: DataFrame, published: DataFrame, gold: GoldTransforms) -> DataFrame:
    """As `with_history_facts`, for new versions beside those of the published ones that they meet.

    Args:
        versions: `version_columns`, new to gold.
        published: `version_columns` and `facts` of the versions that gold keeps next to those that come or
            go, and of the two newest of each entity.
        gold: what the dataset declares.

    Returns:
        The rows of both. valid_to and is_first are right in all of them, the other facts in the newest of
        each entity.
    """
    of_entity = Window.partitionBy(gold.dataset.key)
    first = F.least("first_seen_at", F.max("kept_first").over(of_entity))

    def with_other(fact: str) -> Column:
        return F.col(fact) + F.coalesce(F.max(f"other_{fact}").over(of_entity), F.lit(0))

    described = with_history_facts(published.unionByName(versions, allowMissingColumns=True), gold)
    return described.withColumns(
        {
            "valid_to": F.least("valid_to", "kept_following"),
            "first_seen_at": first,
            "is_first": F.col(gold.dataset.event_time) == first,
            **{name: with_other(name) for name in gold.counters},
        }
    )


def history(described_versions: DataFrame, gold: GoldTransforms) -> DataFrame:
    """The table of versions: every version, with the Kafka coordinates."""
    assert gold.history is not None  # noqa: S101  # asked where there is one
    return _as_contract(described_versions, gold.history, COORDINATES)


def entities(
    described_versions: DataFrame, table: Table, dataset: Dataset, labels: DataFrame | None = None
) -> DataFrame:
    """A table of entities: what the newest version and the history of each say, with the Kafka coordinates.

    Args:
        described_versions: see `with_history_facts`.
        table: the table.
        dataset: its dataset.
        labels: the key (unique) and the label, where the table has one.
    """
    newest = described_versions.where(F.col("valid_to").isNull())
    if labels is not None:
        newest = newest.join(labels, dataset.key, "left")
    return _as_contract(newest, table, COORDINATES)


def aggregates(rows: DataFrame, table: Table, dataset: Dataset) -> DataFrame:
    """A table of periods or groups, all of it.

    Args:
        rows: all rows of the table that it aggregates (`grain.source_of`).
        table: the table.
        dataset: its dataset.
    """
    derived = derived_columns(dataset, table)
    keys = [F.expr(_definition(table, name)).alias(name) for name in table.primary_key]
    measures = [
        F.expr(_definition(table, name)).alias(name)
        for name in table.column_names
        if name not in table.primary_key and name not in derived
    ]
    measured = rows.groupBy(*keys).agg(*measures) if measures else rows.select(*keys).distinct()
    types = spark_schema(table)
    return measured.select(
        *(
            (F.expr(_definition(table, name)) if name in derived else F.col(name))
            .cast(types[name].dataType)
            .alias(name)
            for name in table.column_names
        )
    )


def aggregates_query(rows: str, table: Table, dataset: Dataset) -> str:
    """SQL of `aggregates`: the same definitions, evaluated where the rows are, so that none travels.

    Args:
        rows: a FROM item with the rows of the wanted periods or groups.
        table: the table.
        dataset: its dataset.
    """
    derived = derived_columns(dataset, table)
    names = [*table.primary_key, *(n for n in table.column_names if n not in {*table.primary_key, *derived})]
    measured = ", ".join(f"{_definition(table, name)} AS {quoted(name)}" for name in names)
    groups = ", ".join(str(position + 1) for position in range(len(table.primary_key)))
    selected = ", ".join(
        f"{_definition(table, name) if name in derived else quoted(name)} AS {quoted(name)}"
        for name in table.column_names
    )
    return f"SELECT {selected} FROM (SELECT {measured} FROM {rows} GROUP BY {groups}) AS measured"


def versions_of_history(published: DataFrame, gold: GoldTransforms) -> DataFrame:
    """Rows of the table of versions as the versions they were made of; gold keeps no coordinates."""
    assert gold.history is not None  # noqa: S101  # asked where there is one
    silver = spark_schema(gold.dataset.silver)
    time = gold.dataset.event_time
    return published.withColumn(time, F.col(gold.history.primary_key[1])).select(
        *(name for name in gold.version_columns if name not in COORDINATES),
        *(F.lit(None).cast(silver[name].dataType).alias(name) for name in COORDINATES),
        *(fact.name for fact in gold.facts),
    )


def all_tables(
    described_versions: DataFrame, gold: GoldTransforms, labels: DataFrame | None
) -> dict[str, DataFrame]:
    """Every gold table from all versions, by name: what a full write stages.

    Args:
        described_versions: see `with_history_facts`, all versions.
        gold: what the dataset declares.
        labels: see `entities`.
    """
    frames = version_tables(described_versions, gold, labels)
    for grain in (Grain.PERIOD, Grain.GROUP):
        for table in tables_of(gold.dataset, grain):
            source = frames[source_of(gold.dataset, table).name]
            frames[table.name] = aggregates(source, table, gold.dataset)
    return frames


def version_tables(
    described_versions: DataFrame, gold: GoldTransforms, labels: DataFrame | None
) -> dict[str, DataFrame]:
    """The tables of versions and of entities, by name; see `all_tables`."""
    frames: dict[str, DataFrame] = {}
    if gold.history is not None:
        frames[gold.history.name] = history(described_versions, gold)
    for table in tables_of(gold.dataset, Grain.ENTITY):
        wanted = labels if any(column.is_label for column in table.columns) else None
        frames[table.name] = entities(described_versions, table, gold.dataset, wanted)
    return frames


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
