"""What the contract says of one record's value, in plain Python: the reference for every engine.

Strict where Spark's `from_json` is lenient (quotes, text after the object, equal keys, NaN, rounding, types
that merely convert). The streaming job sends it each record that the compiled Spark predicates do not
accept at sight; the producer's dry run uses it as it is. Judging never raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from itertools import islice
from typing import Final

from medallion_contracts import reasons
from medallion_contracts.event_fields import factors
from medallion_contracts.model import Column, ColumnType, Table

MAX_DEPTH: Final = 500
"""Deepest nesting of objects and arrays that is still parsed; deeper values are `malformed`."""

MOST_UNKNOWN: Final = 100
"""Most unknown fields that are named of one record, in its own order: it may have any number of them."""

_TIMESTAMP = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})(:\d{2})?(?:[.,](\d+))?(Z|[+-]\d{2}(?::?\d{2})?)?", re.ASCII
)
_DECIMAL_TEXT = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_EXACT: Final = Context(prec=100)
"""For decimals of up to 38 digits: Python itself rounds to 28."""
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_LONGEST_INT: Final = 20


@dataclass(frozen=True, slots=True)
class Judgement:
    """The contract's verdict on one value.

    `fields` holds the normalised value of every valid field, defaults included (str, int, bool, Decimal with
    the contract's scale, datetime in UTC, None where the contract says so); it is complete when there are no
    `reasons`. `defaulted` (absent fields that got a value) and `reasons` follow the contract's column order;
    `unknown`, of at most MOST_UNKNOWN, the record's own.
    """

    fields: Mapping[str, object]
    defaulted: tuple[str, ...]
    unknown: tuple[str, ...]
    reasons: tuple[str, ...]


class _Literal(str):
    """A JSON number as it was written: floats lose digits, and Python refuses very long integers."""

    __slots__ = ()


class _Refused(Exception):
    """Carries a reason out of a field parser."""


class _Malformed(Exception):
    """The text is JSON for a lenient parser only."""


class EventJudge:
    """Judges values by one events contract. Cheap to call, safe to share between threads.

    Args:
        events: the events contract.
        reject_unknown: make a field the contract does not know a reason (`unknown:<field>`).
    """

    def __init__(self, events: Table, *, reject_unknown: bool = False) -> None:
        self._columns = events.columns
        self._known = frozenset(events.column_names)
        self._parsers = {
            column.name: _parser(column, column.name in events.primary_key) for column in events.columns
        }
        self._reject_unknown = reject_unknown

    def judge(self, value: bytes | None) -> Judgement:
        """The verdict on one Kafka value, without the rules that need its coordinates (future, late)."""
        try:
            document = parse_object(value)
        except _Malformed:
            return Judgement({}, (), (), (reasons.MALFORMED,))
        found: dict[str, object] = {}
        faults: list[str] = []
        absent: list[Column] = []
        for column in self._columns:
            given = document.get(column.name)
            if given is None or (
                isinstance(given, str) and not isinstance(given, _Literal) and not given.strip()
            ):
                absent.append(column)
                continue
            try:
                found[column.name] = self._parsers[column.name](given)
            except _Refused as refused:
                faults.append(str(refused))
        faults.extend(reasons.missing(column.name) for column in absent if column.required)
        defaulted = self._fill(found, [column for column in absent if not column.required], faults)
        others = (name for name in document if name not in self._known)
        unknown = tuple(printable(name) for name in islice(others, MOST_UNKNOWN))
        if self._reject_unknown:
            faults.extend(reasons.unknown(name) for name in unknown)
        return Judgement(found, defaulted, unknown, self._in_order(faults))

    def _fill(self, found: dict[str, object], absent: list[Column], faults: list[str]) -> tuple[str, ...]:
        """Give absent optional fields their default (or null), then those that are derived from others."""
        for column in absent:
            if column.transform is None:
                found[column.name] = column.default
        for column in absent:
            if column.transform is not None:
                derived = _derive(column, found)
                if derived is None:
                    continue
                try:
                    found[column.name] = self._parsers[column.name](derived)
                except _Refused as refused:
                    faults.append(str(refused))
        return tuple(column.name for column in absent if column.always_has_value)

    def _in_order(self, faults: list[str]) -> tuple[str, ...]:
        order = {name: position for position, name in enumerate(self._parsers)}
        return tuple(sorted(faults, key=lambda fault: order.get(fault.partition(":")[2], len(order))))


def parse_object(value: bytes | None) -> dict[str, object]:
    """The one JSON object that `value` is, numbers with a fraction or exponent kept as written.

    Raises:
        _Malformed: it is anything else: null, empty, not UTF-8, not strict JSON, equal keys at any depth,
            nesting beyond MAX_DEPTH.
    """
    if not value:
        raise _Malformed
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise _Malformed
    try:
        document = _DECODER.decode(value.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _Malformed from error
    if not isinstance(document, dict):
        raise _Malformed
    return document


def accepts_default(column: Column) -> bool:
    """Whether a column's default is a value that the column may have."""
    default = column.default
    try:
        _parser(column, False)(_Literal(f"{default:f}") if isinstance(default, Decimal) else default)
    except _Refused:
        return False
    return True


def printable(name: str) -> str:
    """A field name fit for tables and logs: at most 64 characters, others than visible ASCII escaped."""
    escaped = _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", name)
    return escaped if len(escaped) <= 64 else escaped[:63] + "~"


def _depth(value: bytes) -> int:
    """Deepest nesting of brackets outside of strings."""
    deepest = depth = 0
    in_string = escaped = False
    for byte in value:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise _Malformed
    return document


def _integer(text: str) -> int | _Literal:
    return int(text) if len(text) <= _LONGEST_INT else _Literal(text)


def _no_constant(text: str) -> object:
    raise _Malformed  # NaN, Infinity: Python's own extension of JSON


_DECODER = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_float=_Literal, parse_int=_integer, parse_constant=_no_constant
)


def _derive(column: Column, found: Mapping[str, object]) -> int | _Literal | None:
    """The value of a derived column as JSON would have it, or None when a factor is not valid.

    transformLogic of an event is a product of columns; the loader has checked that.
    """
    product = Decimal(1)
    for factor in factors(column):
        value = found.get(factor)
        if not isinstance(value, int | Decimal):
            return None
        product = _EXACT.multiply(product, value)
    return _Literal(f"{product:f}") if column.type is ColumnType.DECIMAL else int(product)


def _parser(column: Column, is_key: bool) -> Callable[[object], object]:
    """The function from a JSON value to the column's normalised value; raises _Refused with the reason."""
    if column.type is ColumnType.STRING:
        return _string_parser(column, is_key)
    return {
        ColumnType.INTEGER: _integer_parser,
        ColumnType.LONG: _integer_parser,
        ColumnType.BOOLEAN: _boolean_parser,
        ColumnType.DECIMAL: _decimal_parser,
        ColumnType.TIMESTAMP: _timestamp_parser,
    }[column.type](column)


def _string_parser(column: Column, is_key: bool) -> Callable[[object], object]:
    spellings = {spelling.lower(): spelling for spelling in column.enum}
    wrong_type, wrong_value = reasons.wrong_type(column.name), reasons.wrong_value(column.name)
    longest = column.max_length or 10_000_000

    def parse(value: object) -> object:
        if not isinstance(value, str) or isinstance(value, _Literal):
            raise _Refused(wrong_type)
        if spellings:
            spelling = spellings.get(value.strip().lower())
            if spelling is None:
                raise _Refused(wrong_value)
            return spelling
        if len(value) > longest or (is_key and value != value.strip()) or not _storable(value):
            raise _Refused(wrong_value)
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
        if isinstance(value, _Literal) and value.lstrip("-").isdigit():
            raise _Refused(wrong_value)  # an integer too long to be one of ours
        if type(value) is not int:
            raise _Refused(wrong_type)
        if not low <= value <= high:
            raise _Refused(wrong_value)
        return value

    return parse


def _boolean_parser(column: Column) -> Callable[[object], object]:
    wrong_type = reasons.wrong_type(column.name)

    def parse(value: object) -> object:
        if type(value) is not bool:
            raise _Refused(wrong_type)
        return value

    return parse


def _decimal_parser(column: Column) -> Callable[[object], object]:
    wrong_type, wrong_value = reasons.wrong_type(column.name), reasons.wrong_value(column.name)
    scale = column.scale or 0
    step = Decimal(1).scaleb(-scale)
    largest = _EXACT.subtract(Decimal(1).scaleb((column.precision or 38) - scale), step)
    low = max(-largest, column.minimum) if column.minimum is not None else -largest
    high = min(largest, column.maximum) if column.maximum is not None else largest

    def parse(value: object) -> object:
        if type(value) is int or isinstance(value, _Literal):
            text = str(value)
        elif isinstance(value, str) and _DECIMAL_TEXT.fullmatch(value):
            text = value
        else:
            raise _Refused(wrong_type)
        try:
            number = Decimal(text)
            if low <= number <= high and (stored := number.quantize(step, context=_EXACT)) == number:
                return stored if stored else abs(stored)  # -0.00 becomes 0.00
        except InvalidOperation:  # an exponent beyond what Decimal can hold
            pass
        raise _Refused(wrong_value)

    return parse


def _timestamp_parser(column: Column) -> Callable[[object], object]:
    wrong_type, wrong_value = reasons.wrong_type(column.name), reasons.wrong_value(column.name)
    earliest = column.earliest or datetime(1, 1, 2, tzinfo=UTC)

    def parse(value: object) -> object:
        match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
        if match is None or isinstance(value, _Literal):
            raise _Refused(wrong_type)
        minutes, seconds, fraction, offset = match.groups()
        if fraction and not seconds:
            raise _Refused(wrong_type)
        try:
            moment = datetime.fromisoformat(
                f"{minutes}{seconds or ':00'}.{(fraction or '')[:6]:0<6}{offset or '+00:00'}"
            )
        except ValueError:
            raise _Refused(wrong_type) from None
        if fraction and len(fraction) > 6:
            raise _Refused(wrong_value)
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:
            raise _Refused(wrong_value) from None
        if moment < earliest:
            raise _Refused(wrong_value)
        return moment

    return parse
