"""Compiles contracts to Spark schemas."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import types as T

from medallion_contracts.model import Column, ColumnType, Table

_SPARK_TYPES: dict[ColumnType, Callable[[Column], T.DataType]] = {
    ColumnType.STRING: lambda _: T.StringType(),
    ColumnType.INTEGER: lambda _: T.IntegerType(),
    ColumnType.LONG: lambda _: T.LongType(),
    ColumnType.DECIMAL: lambda column: T.DecimalType(column.precision or 38, column.scale or 0),
    ColumnType.BOOLEAN: lambda _: T.BooleanType(),
    ColumnType.TIMESTAMP: lambda _: T.TimestampType(),
    ColumnType.DATE: lambda _: T.DateType(),
    ColumnType.STRINGS: lambda _: T.ArrayType(T.StringType()),
}


def spark_schema(table: Table) -> T.StructType:
    """The table's columns in the contract's order, all nullable: rules are checked before a write."""
    return T.StructType([T.StructField(c.name, _SPARK_TYPES[c.type](c)) for c in table.columns])
