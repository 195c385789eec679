"""JSON as the contract takes it: strict where Python's parser is lenient, numbers kept as written."""

from __future__ import annotations

import json
from typing import Final

MAX_DEPTH: Final = 500
"""Deepest nesting of objects and arrays that is still parsed; deeper values are `malformed`."""
_LONGEST_INT: Final = 20


class NumberText(str):
    """A JSON number as it was written: floats lose digits, and Python refuses very long integers."""

    __slots__ = ()


class MalformedValue(Exception):
    """The value is not one strict JSON object."""


def parse_object(value: bytes | None) -> dict[str, object]:
    """The one JSON object that `value` is, numbers with a fraction or exponent kept as written.

    Raises:
        MalformedValue: it is anything else: null, empty, not UTF-8, not strict JSON, equal keys at any depth,
            nesting beyond MAX_DEPTH.
    """
    if not value:
        raise MalformedValue
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise MalformedValue
    try:
        document = _DECODER.decode(value.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise MalformedValue from error
    if not isinstance(document, dict):
        raise MalformedValue
    return document


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
        raise MalformedValue
    return document


def _integer(text: str) -> int | NumberText:
    return int(text) if len(text) <= _LONGEST_INT else NumberText(text)


def _no_constant(text: str) -> object:
    raise MalformedValue  # NaN, Infinity: Python's own extension of JSON


_DECODER = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_float=NumberText, parse_int=_integer, parse_constant=_no_constant
)
