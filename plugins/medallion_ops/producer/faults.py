"""Records that the stream must not let into silver: broken ones, exact repeats, and late versions.

Each is made from a valid event of the same run, so that the stream finds exactly the reason that the
producer's summary counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from fractions import Fraction

from medallion_contracts import reasons
from medallion_contracts.model import Column, ColumnType, Dataset
from medallion_ops.producer.parameters import Amount
from medallion_ops.producer.timeline import SPREAD

Fields = dict[str, object]
Breakage = Callable[[Fields], bytes]
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(fields: Fields) -> bytes:
    """The event as JSON in UTF-8, without white space."""
    return _ENCODER.encode(fields).encode()


class Shares:
    """Spreads an amount of records evenly over the events.

    Args:
        amount: A number of records, or a fraction of the events.
        events: How many events there will be; None in an endless run.
    """

    def __init__(self, amount: Amount, events: int | None) -> None:
        if events is None:
            self._ratio = Fraction(amount).limit_denominator(1_000_000)
        else:
            records = amount if isinstance(amount, int) else round(amount * events)
            self._ratio = Fraction(records, events)

    def after(self, index: int) -> int:
        """How many records follow the event with that index; over all events they are exactly the amount."""
        numerator, denominator = self._ratio.numerator, self._ratio.denominator
        return (index + 1) * numerator // denominator - index * numerator // denominator


def late_by(watermark: timedelta) -> timedelta:
    """How far before its event a late version is dated.

    More than the watermark: the stream may compare with the newest event of an earlier stretch of the
    partition, which is up to SPREAD older than the newest of all.
    """
    return 2 * watermark + 2 * SPREAD


class Breaker:
    """Makes broken records of valid events, each kind in turn; each has exactly one reason."""

    def __init__(self, dataset: Dataset) -> None:
        self._kinds = list(_kinds(dataset))
        self._next = 0

    def broken(self, fields: Fields) -> tuple[str, bytes]:
        """The next kind's reason (`reasons`) and the record's value."""
        reason, breakage = self._kinds[self._next % len(self._kinds)]
        self._next += 1
        return reason, breakage(fields)


def _kinds(dataset: Dataset) -> Iterator[tuple[str, Breakage]]:
    """One breakage for each row of the contract's table of reasons that the dataset has a column for."""
    events = dataset.events
    key, event_time = dataset.key, dataset.event_time
    yield reasons.MALFORMED, lambda fields: encode(fields)[:-1]
    yield reasons.missing(key), lambda fields: encode(_without(fields, key))
    yield reasons.missing(event_time), lambda fields: encode({**fields, event_time: None})
    yield from _wrong_type(_first(events.columns, ColumnType.INTEGER), "twelve")
    yield from _wrong_value(next((c for c in events.columns if c.enum), None), "no such choice")
    yield reasons.FUTURE, lambda fields: encode({**fields, event_time: _in_a_century(fields[event_time])})
    yield reasons.MALFORMED, lambda fields: encode(fields) + b" and more"
    yield from _wrong_type(_first(events.columns, ColumnType.BOOLEAN), "true")
    yield from _wrong_value(_first(events.columns, ColumnType.DECIMAL), 0.0625)
    yield reasons.wrong_type(event_time), lambda fields: encode({**fields, event_time: 1_700_000_000})
    yield reasons.MALFORMED, lambda fields: encode(fields)[:-1] + b',"' + key.encode() + b'":"again"}'
    yield reasons.MALFORMED, lambda fields: encode(fields).replace(b'":', b'\xff":', 1)


def _first(columns: tuple[Column, ...], kind: ColumnType) -> Column | None:
    return next((column for column in columns if column.type is kind), None)


def _wrong_type(column: Column | None, value: object) -> Iterator[tuple[str, Breakage]]:
    if column is not None:
        name = column.name
        yield reasons.wrong_type(name), lambda fields: encode({**fields, name: value})


def _wrong_value(column: Column | None, value: object) -> Iterator[tuple[str, Breakage]]:
    if column is not None:
        name = column.name
        yield reasons.wrong_value(name), lambda fields: encode({**fields, name: value})


def _without(fields: Fields, name: str) -> Fields:
    return {field: value for field, value in fields.items() if field != name}


def _in_a_century(event_time: object) -> str:
    return f"{(datetime.fromisoformat(str(event_time)) + timedelta(days=36_525)).isoformat()}"
