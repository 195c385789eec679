"""Compiles contracts to Spark: schemas, and the fast half of the strict parser.

`EventJudge` (module `judge`) says what a record is, in plain Python. Most records are ordinary, and for
those Spark can do the same work far faster. `parse_plain` takes exactly the records that it can prove the
judge would accept, with the same values; every other record, good or bad, is left to the judge. So the fast
half may be too careful, never too generous: each rule below is a subset of the judge's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F
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


def spark_schema(table: Table) -> T.StructType:
    """The table's columns in the contract's order, all nullable: rules are checked before a write."""
    return T.StructType([T.StructField(c.name, _SPARK_TYPES[c.type](c)) for c in table.columns])


def arrow_schema(table: Table) -> pa.Schema:
    """The same columns as an Arrow schema; timestamps are UTC microseconds."""
    return pa.schema([(c.name, _ARROW_TYPES[c.type](c)) for c in table.columns])


# --- the text of an ordinary record ------------------------------------------------------------------------
# Java regular expressions; possessive quantifiers (`*+`), so that hostile text costs one pass and no stack.
_SPACE = r"[ \t\n\r]*+"
# A string begins and ends with a letter, a digit or visible ASCII: nothing that trimming would take away.
# No escapes and no control characters: what stands in the text is the value.
_EDGE = r"[\p{L}\p{N}!#-\[\]-~]"
_WHOLE = r"(?:0|[1-9][0-9]{0,%d}+)"
_MOMENT = (
    r'"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6}+)?+(?:Z|[+-][0-9]{2}:[0-9]{2})?+"'
)


def _string_pattern(column: Column) -> str:
    if column.enum:
        return '"(?:' + "|".join(re.escape(entry) for entry in column.enum) + ')"'
    rest = r"[^\"\\\x00-\x1f\x7f]"
    limit = "*" if column.max_length is None else f"{{0,{column.max_length - 1}}}"
    return rf'"{_EDGE}(?:{rest}{limit}(?<={_EDGE}))?+"'


def _decimal_pattern(column: Column) -> str:
    scale = column.scale or 0
    number = _WHOLE % ((column.precision or 38) - scale - 1)
    if scale:
        number += rf"(?:\.[0-9]{{1,{scale}}}+)?+"
    return rf'(?:{number}|"{number}")'


# Nine and eighteen digits always fit 32 and 64 bits. Signs, exponents and the rest are the judge's.
_TEXT_PATTERNS: dict[ColumnType, Callable[[Column], str]] = {
    ColumnType.STRING: _string_pattern,
    ColumnType.INTEGER: lambda _: _WHOLE % 8,
    ColumnType.LONG: lambda _: _WHOLE % 17,
    ColumnType.DECIMAL: _decimal_pattern,
    ColumnType.BOOLEAN: lambda _: "(?:true|false)",
    ColumnType.TIMESTAMP: lambda _: _MOMENT,
}


def plain_pattern(events: Table) -> str:
    r"""Matches one JSON object of as many pairs as the contract has columns, each a known key, a plain value.

    That the keys are distinct is not said here: see `parse_plain`.
    """
    pair = "|".join(
        f'"{re.escape(c.name)}"{_SPACE}:{_SPACE}{_TEXT_PATTERNS[c.type](c)}' for c in events.columns
    )
    more = len(events.columns) - 1
    return rf"\A{_SPACE}\{{{_SPACE}(?>{pair})(?>{_SPACE},{_SPACE}(?>{pair})){{{more}}}{_SPACE}\}}{_SPACE}\z"


def parse_plain(value: SparkColumn, events: Table) -> SparkColumn:
    """The record's fields as a struct of `spark_schema(events)`, or null when the record is not plain.

    `value` is binary. Sound because: the text is valid UTF-8 and matches `plain_pattern`; `from_json` found
    all n columns among n pairs of known keys, so no key came twice; ranges are compared on the typed values.
    The session time zone must be UTC (a timestamp without an offset is UTC).
    """
    text = value.cast("string")
    is_plain = F.is_valid_utf8(text) & text.rlike(plain_pattern(events))
    # An explicit option keeps the optimizer from splitting this into one parse per field it sees used.
    parsed = F.from_json(F.when(is_plain, text), spark_schema(events), {"mode": "PERMISSIVE"})
    accepted = reduce(
        lambda left, right: left & right, (_in_range(parsed[c.name], c) for c in events.columns)
    )
    return F.when(accepted, parsed)


def _in_range(value: SparkColumn, column: Column) -> SparkColumn:
    checks = [value.isNotNull()]
    if column.minimum is not None:
        checks.append(value >= F.lit(column.minimum))
    if column.maximum is not None:
        checks.append(value <= F.lit(column.maximum))
    if column.earliest is not None:
        checks.append(value >= F.lit(column.earliest))
    return reduce(lambda left, right: left & right, checks)
