"""What the fields of an event may be: a default, derived from others, or null where a record lacks them."""

from __future__ import annotations

from collections.abc import Iterator

from medallion_contracts.model import Column, ColumnType, Table

_NUMBERS = (ColumnType.INTEGER, ColumnType.LONG, ColumnType.DECIMAL)


def factors(column: Column) -> tuple[str, ...]:
    """The columns whose product a derived field is (its transformLogic)."""
    return tuple(factor.strip() for factor in (column.transform or "").split("*"))


def event_problems(events: Table) -> Iterator[str]:
    """What the judge cannot honour: each derived field must be the exact product of given ones."""
    for column in events.columns:
        where = f"events.{column.name}"
        if column.transform is not None:
            yield from (f"{where}: {problem}" for problem in _product_problems(events, column))
        if column.required and (column.default is not None or column.transform is not None):
            yield f"{where}: a required field has no default and no transformLogic: it is never filled"
        if column.type in (ColumnType.DATE, ColumnType.STRINGS):
            yield f"{where}: an event field cannot be a {column.type.value}"


def _product_problems(events: Table, column: Column) -> Iterator[str]:
    if column.default is not None:
        yield "give a default or transformLogic, not both"
    if not set(factors(column)) <= set(events.column_names) - {column.name}:
        yield "transformLogic must be a product of other columns, e.g. a * b"
        return
    others = [events.column(name) for name in factors(column)]
    for other in others:
        if other.type not in _NUMBERS:
            yield f"transformLogic multiplies {other.name}, which is no number"
        if other.transform is not None:
            yield f"transformLogic multiplies {other.name}, which is derived itself"
        elif not other.always_has_value:
            yield f"transformLogic multiplies {other.name}, which may be null: give that a default"
    digits = sum(other.scale or 0 for other in others)
    if column.type not in _NUMBERS:
        yield f"a {column.type.value} cannot be a product"
    elif digits > (column.scale or 0):
        yield f"the product has {digits} decimals, the column {column.scale or 0}"
    # As Spark and Arrow count the digits of a product of decimals.
    if sum(decimal_digits(other)[0] + 1 for other in others) - 1 > _MOST_DIGITS:
        yield f"the product may have more than {_MOST_DIGITS} digits"


_MOST_DIGITS = 38


def decimal_digits(column: Column) -> tuple[int, int]:
    """Precision and scale of the decimal that holds every value of a number column."""
    if column.type is ColumnType.DECIMAL:
        return column.precision or _MOST_DIGITS, column.scale or 0
    return (10 if column.type is ColumnType.INTEGER else 19), 0
