"""What the contract says of one record's value, in plain Python: the reference for every engine.

Strict where Spark's `from_json` is lenient (quotes, text after the object, equal keys, NaN, rounding, types
that merely convert). The streaming job sends it each record that the compiled Spark predicates do not
accept at sight; the producer's dry run uses it as it is. Judging never raises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Final

from medallion_contracts import reasons
from medallion_contracts.event_fields import factors
from medallion_contracts.field_parsers import EXACT, RefusedValue, parser_of
from medallion_contracts.model import Column, ColumnType, Table
from medallion_contracts.strict_json import MalformedValue, NumberText, parse_object

MOST_UNKNOWN: Final = 100
"""Most unknown fields that are named of one record, in its own order: it may have any number of them."""

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


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
            column.name: parser_of(column, column.name in events.primary_key) for column in events.columns
        }
        self._reject_unknown = reject_unknown

    def judge(self, value: bytes | None) -> Judgement:
        """The verdict on one Kafka value, without the rules that need its coordinates (future, late)."""
        try:
            document = parse_object(value)
        except MalformedValue:
            return Judgement({}, (), (), (reasons.MALFORMED,))
        found: dict[str, object] = {}
        faults: list[str] = []
        absent: list[Column] = []
        for column in self._columns:
            given = document.get(column.name)
            if given is None or (
                isinstance(given, str) and not isinstance(given, NumberText) and not given.strip()
            ):
                absent.append(column)
                continue
            try:
                found[column.name] = self._parsers[column.name](given)
            except RefusedValue as refused:
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
                except RefusedValue as refused:
                    faults.append(str(refused))
        return tuple(column.name for column in absent if column.always_has_value)

    def _in_order(self, faults: list[str]) -> tuple[str, ...]:
        order = {name: position for position, name in enumerate(self._parsers)}
        return tuple(sorted(faults, key=lambda fault: order.get(fault.partition(":")[2], len(order))))


def printable(name: str) -> str:
    """A field name fit for tables and logs: at most 64 characters, others than visible ASCII escaped."""
    escaped = _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", name)
    return escaped if len(escaped) <= 64 else escaped[:63] + "~"


def _derive(column: Column, found: Mapping[str, object]) -> int | NumberText | None:
    """The value of a derived column as JSON would have it, or None when a factor is not valid.

    transformLogic of an event is a product of columns; the loader has checked that.
    """
    product = Decimal(1)
    for factor in factors(column):
        value = found.get(factor)
        if not isinstance(value, int | Decimal):
            return None
        product = EXACT.multiply(product, value)
    return NumberText(f"{product:f}") if column.type is ColumnType.DECIMAL else int(product)
