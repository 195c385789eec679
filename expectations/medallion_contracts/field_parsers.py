"""From a JSON value to a column's normalised value: one function a column, made from its contract."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Final

from medallion_contracts import reasons
from medallion_contracts.model import Column, ColumnType
from medallion_contracts.strict_json import NumberText

_TIMESTAMP = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})(:\d{2})?(?:[.,](\d+))?(Z|[+-]\d{2}(?::?\d{2})?)?", re.ASCII
)
_DECIMAL_TEXT = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
EXACT: Final = Context(prec=100)
"""For decimals of up to 38 digits: Python itself rounds to 28."""


class RefusedValue(Exception):
    """Carries a reason out of a field parser."""


def parser_of(column: Column, is_key: bool) -> Callable[[object], object]:
    """The function from a JSON value to the column's normalised value; raises RefusedValue, with why."""
    if column.type is ColumnType.STRING:
        return _string_parser(column, is_key)
    return {
        ColumnType.INTEGER: _integer_parser,
        ColumnType.LONG: _integer_parser,
        ColumnType.BOOLEAN: _boolean_parser,
        ColumnType.DECIMAL: _decimal_parser,
        ColumnType.TIMESTAMP: _timestamp_parser,
    }[column.type](column)


def accepts_default(column: Column) -> bool:
    """Whether a column's default is a value that the column may have."""
    default = column.default
    try:
        parser_of(column, False)(NumberText(f"{default:f}") if isinstance(default, Decimal) else default)
    except RefusedValue:
        return False
    return True


def _string_parser(column: Column, is_key: bool) -> Callable[[object], object]:
    spellings = {spelling.lower(): spelling for spelling in column.enum}
    wrong_type, wrong_value = reasons.wrong_type(column.name), reasons.wrong_value(column.name)
    longest = column.max_length or 10_000_000

    def parse(value: object) -> object:
        if not isinstance(value, str) or isinstance(value, NumberText):
            raise RefusedValue(wrong_type)
        if spellings:
            spelling = spellings.get(value.strip().lower())
            if spelling is None:
                raise RefusedValue(wrong_value)
            return spelling
        if len(value) > longest or (is_key and value != value.strip()) or not _storable(value):
            raise RefusedValue(wrong_value)
        return value

    return parse


def _storable(text: str) -> bool:
    """Whether Postgres can hold the text: no NUL, no lone surrogate."""
    if text.isascii():
        return "\0" not in text
    try:
        return b"\0" not in text.encode("utf-8")
    except UnicodeEncodeError:
        return False


def _integer_parser(column: Column) -> Callable[[object], object]:
    wrong_type, wrong_value = reasons.wrong_type(column.name), reasons.wrong_value(column.name)
    bits = 31 if column.type is ColumnType.INTEGER else 63
    low = max(-(2**bits), int(column.minimum) if column.minimum is not None else -(2**bits))
    high = min(2**bits - 1, int(column.maximum) if column.maximum is not None else 2**bits - 1)

    def parse(value: object) -> object:
        if isinstance(value, NumberText) and value.lstrip("-").isdigit():
            raise RefusedValue(wrong_value)  # an integer too long to be one of ours
        if type(value) is not int:
            raise RefusedValue(wrong_type)
        if not low <= value <= high:
            raise RefusedValue(wrong_value)
        return value

    return parse


def _boolean_parser(column: Column) -> Callable[[object], object]:
    wrong_type = reasons.wrong_type(column.name)

    def parse(value: object) -> object:
        if type(value) is not bool:
            raise RefusedValue(wrong_type)
        return value

    return parse


def _decimal_parser(column: Column) -> Callable[[object], object]:
    wrong_type, wrong_value = reasons.wrong_type(column.name), reasons.wrong_value(column.name)
    scale = column.scale or 0
    step = Decimal(1).scaleb(-scale)
    largest = EXACT.subtract(Decimal(1).scaleb((column.precision or 38) - scale), step)
    low = max(-largest, column.minimum) if column.minimum is not None else -largest
    high = min(largest, column.maximum) if column.maximum is not None else largest

    def parse(value: object) -> object:
        if type(value) is int or isinstance(value, NumberText):
            text = str(value)
        elif isinstance(value, str) and _DECIMAL_TEXT.fullmatch(value):
            text = value
        else:
            raise RefusedValue(wrong_type)
        try:
            number = Decimal(text)
            if low <= number <= high and (stored := number.quantize(step, context=EXACT)) == number:
                return stored if stored else abs(stored)  # -0.00 becomes 0.00
        except InvalidOperation:  # an exponent beyond what Decimal can hold
            pass
        raise RefusedValue(wrong_value)

    return parse


def _timestamp_parser(column: Column) -> Callable[[object], object]:
    wrong_type, wrong_value = reasons.wrong_type(column.name), reasons.wrong_value(column.name)
    earliest = column.earliest or datetime(1, 1, 2, tzinfo=UTC)

    def parse(value: object) -> object:
        match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
        if match is None or isinstance(value, NumberText):
            raise RefusedValue(wrong_type)
        minutes, seconds, fraction, offset = match.groups()
        if fraction and not seconds:
            raise RefusedValue(wrong_type)
        try:
            moment = datetime.fromisoformat(
                f"{minutes}{seconds or ':00'}.{(fraction or '')[:6]:0<6}{offset or '+00:00'}"
            )
        except ValueError:
            raise RefusedValue(wrong_type) from None
        if fraction and len(fraction) > 6:
            raise RefusedValue(wrong_value)
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:
            raise RefusedValue(wrong_value) from None
        if moment < earliest:
            raise RefusedValue(wrong_value)
        return moment

    return parse
