"""Silver's rows as today's contract makes them of the same records.

A row that is older than a column holds null there, and a row whose field was absent holds the default of
its day. Deduplication, the rebuild's comparison and gold see such rows through this one function: a record
that is sent again is then a duplicate of its row, a rebuild finds no difference, and gold gets the default.

| stored | today's contract | seen |
|---|---|---|
| tenure 3, defaulted_fields [] | column `region` added, default "none" | tenure 3, region "none", [region] |
| gender "Unknown", [gender] | default of `gender` is now "Other" | gender "Other", [gender] |
| tenure 3, [] | column `region` added that may be null | tenure 3, region null, [] |
"""

from __future__ import annotations

from functools import reduce
from operator import mul

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from medallion_contracts.compile.spark import spark_schema
from medallion_contracts.event_fields import decimal_digits, factors
from medallion_contracts.model import Column as ContractColumn
from medallion_contracts.model import Dataset, Table

DEFAULTED = "defaulted_fields"


def at_todays_contract(silver: DataFrame, dataset: Dataset) -> DataFrame:
    """Silver's rows with today's defaults where the record had no value.

    Args:
        silver: the event's columns (those that the contract has got since may be missing) and
            `defaulted_fields`; other columns stay as they are.
        dataset: today's contracts.
    """
    types = spark_schema(dataset.events)
    there = set(silver.columns)
    optional = [column for column in dataset.events.columns if not column.required]
    added = {
        column.name: F.lit(None).cast(types[column.name].dataType)
        for column in dataset.events.columns
        if column.name not in there
    }
    defaulted = F.coalesce(F.col(DEFAULTED), F.array().cast(T.ArrayType(T.StringType())))
    rows = silver.withColumns({**added, DEFAULTED: defaulted})
    is_absent = {
        column.name: F.col(column.name).isNull() | F.array_contains(DEFAULTED, column.name)
        for column in optional
    }

    def filled(column: ContractColumn, value: Column) -> Column:
        wanted = value.try_cast(types[column.name].dataType)
        return F.when(is_absent[column.name], wanted).otherwise(F.col(column.name))

    plain = {
        column.name: filled(column, F.lit(column.default)) for column in optional if column.transform is None
    }
    derived = {
        column.name: filled(column, _product(dataset.events, column, plain))
        for column in optional
        if column.transform is not None
    }
    names = F.array(
        *(
            F.when(is_absent[column.name], F.lit(column.name))
            for column in optional
            if column.always_has_value  # one that may be null is not filled
        )
    )
    return rows.withColumns({**plain, **derived, DEFAULTED: F.array_compact(names)})


def _product(events: Table, column: ContractColumn, filled: dict[str, Column]) -> Column:
    """A derived field, see `EventJudge`; as decimals, which hold what integers would overflow by."""
    given = (
        filled.get(name, F.col(name)).cast(T.DecimalType(*decimal_digits(events.column(name))))
        for name in factors(column)
    )
    return reduce(mul, given)
