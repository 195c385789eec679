"""Compiles contracts to Arrow schemas."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from medallion_contracts.model import Column, ColumnType, Table

_ARROW_TYPES: dict[ColumnType, Callable[[Column], pa.DataType]] = {
    ColumnType.STRING: lambda _: pa.string(),
    ColumnType.INTEGER: lambda _: pa.int32(),
    ColumnType.LONG: lambda _: pa.int64(),
    ColumnType.DECIMAL: lambda column: pa.decimal128(column.precision or 38, column.scale or 0),
    ColumnType.BOOLEAN: lambda _: pa.bool_(),
    ColumnType.TIMESTAMP: lambda _: pa.timestamp("us", tz="UTC"),
    ColumnType.DATE: lambda _: pa.date32(),
    ColumnType.STRINGS: lambda _: pa.list_(pa.string()),
}


def arrow_schema(table: Table) -> pa.Schema:
    """The table's columns in the contract's order; timestamps are UTC microseconds."""
    return pa.schema([(c.name, _ARROW_TYPES[c.type](c)) for c in table.columns])
