"""Compiles an events contract to Arrow: the fast half of the strict parser.

`EventJudge` (module `judge`) says what a record is, in plain Python. Most records are ordinary, and for
those Arrow does the same work a hundred times faster. `PlainParser` takes exactly the records that it can
prove the judge would accept, with the same values; every other record, good or bad, is left to the judge. So
the fast half may be too careful, never too generous: each rule below is a subset of the judge's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from medallion_contracts.compile.absent_fields import NAMES, AbsentFields
from medallion_contracts.compile.arrow import arrow_schema
from medallion_contracts.model import Column, ColumnType, Table

# --- the text of an ordinary record (RE2: one pass over any text, whatever it is) --------------------------
_SPACE = r"[ \t\n\r]*"
# The key is visible ASCII. Other strings begin with it, or with a letter of a script that has no white space
# among its letters, so they are not blank. No escapes and no control characters: what stands there is the
# value.
_KEY = r'"[!#-\[\]-~]+"'
_STRING = r'"[!#-\[\]-~À-ɏͰ-ϿЀ-ӿ][^"\\\x00-\x1f\x7f]*"'
_WHOLE = r"(?:0|[1-9][0-9]{0,%d})"
# Which days a month has, Arrow knows.
_MOMENT = (
    r'"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]'
    r'(?:\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"'
)
_WITHOUT_OFFSET = r"(T[0-9:.]+)$"
_LAST = datetime.max.replace(tzinfo=UTC)

_FEW = 64
"""Records that Arrow refuses together are halved until it is so few; those the judge looks at one by one."""


def plain_pattern(events: Table) -> str:
    """Matches one JSON object whose pairs are all known keys with plain values; how many is not said here."""
    values = {c.name: _value_pattern(c, c.name in events.primary_key) for c in events.columns}
    pair = "|".join(f'"{re.escape(name)}"{_SPACE}:{_SPACE}{value}' for name, value in values.items())
    return rf"\A{_SPACE}\{{{_SPACE}(?:{pair})(?:{_SPACE},{_SPACE}(?:{pair}))*{_SPACE}\}}{_SPACE}\z"


def _value_pattern(column: Column, is_key: bool) -> str:
    if column.enum:
        return '"(?:' + "|".join(re.escape(entry) for entry in column.enum) + ')"'
    if column.type is ColumnType.DECIMAL:
        scale = column.scale or 0
        number = _WHOLE % ((column.precision or 38) - scale - 1)
        if scale:
            number += rf"(?:\.[0-9]{{1,{scale}}})?"
        return rf'(?:{number}|"{number}")'
    return {
        ColumnType.STRING: _KEY if is_key else _STRING,
        # Nine and eighteen digits always fit 32 and 64 bits. Signs and exponents are the judge's.
        ColumnType.INTEGER: _WHOLE % 8,
        ColumnType.LONG: _WHOLE % 17,
        ColumnType.BOOLEAN: "(?:true|false)",
        ColumnType.TIMESTAMP: _MOMENT,
    }[column.type]


class PlainParser:
    """Parses the ordinary records of an events contract, whichever optional fields they lack.

    Sound because: the text is valid UTF-8 and matches `plain_pattern`; Arrow's JSON reader refuses equal
    keys and text that is not the type; a required field that is missing is null and refused; ranges and
    lengths are compared on the typed values. No value in the text is null or blank, so a null is a field
    that is missing: it gets what the judge gives it.
    """

    def __init__(self, events: Table) -> None:
        self._columns = events.columns
        self._absent = AbsentFields(events)
        self._pattern = plain_pattern(events)
        self._schema = arrow_schema(events)
        self._type = pa.struct(list(self._schema))
        self._keys = {column.name: f'"{column.name}"' for column in events.columns}
        self._options: dict[tuple[str, ...], pyarrow.json.ParseOptions] = {}

    def parse(self, values: pa.BinaryArray) -> tuple[npt.NDArray[np.intp], pa.StructArray, pa.ListArray]:
        """The plain ones among the values.

        Returns:
            their positions, ascending; their fields (a struct of `arrow_schema(events)`) and the names of
            those that were filled, one for each.
        """
        text, positions = _utf8(values)
        matching = pc.match_substring_regex(text, self._pattern).fill_null(False)
        plain = np.flatnonzero(matching.to_numpy(zero_copy_only=False))
        parts = list(self._read(text.take(pa.array(plain)), positions[plain]))
        if not parts:
            return np.empty(0, dtype=np.intp), pa.nulls(0, self._type), pa.nulls(0, NAMES)
        found, fields, filled = zip(*parts, strict=True)
        return np.concatenate(found), pa.concat_arrays(fields), pa.concat_arrays(filled)

    def _read(self, text: pa.StringArray, positions: npt.NDArray[np.intp]) -> list[_Part]:
        """Fields of matching texts; where Arrow refuses some, those around them."""
        if not len(text):
            return []
        try:
            fields, filled, accepted = self._fields(text)
        except pa.ArrowInvalid:
            if len(text) <= _FEW:
                return []
            half = len(text) // 2
            return [
                *self._read(text.slice(0, half), positions[:half]),
                *self._read(text.slice(half), positions[half:]),
            ]
        if pc.all(accepted).as_py():
            return [(positions, fields, filled)]
        mask = accepted.to_numpy(zero_copy_only=False)
        return [(positions[mask], fields.filter(accepted), filled.filter(accepted))]

    def _fields(self, text: pa.StringArray) -> tuple[pa.StructArray, pa.ListArray, pa.BooleanArray]:
        """The fields of all texts, the names of those filled, and which texts are accepted."""
        lines = pa.ListArray.from_arrays(pa.array([0, len(text)], pa.int32()), text)
        block = pc.binary_join(lines, "\n")[0].as_buffer()
        table = self._read_json(block, self._fields_of(text[0]))
        if table.num_rows != len(text):
            raise pa.ArrowInvalid("not one object for each text")
        given = {field.name: _column_of(table, field) for field in self._schema}
        values, filled = self._absent.fill(given)
        fields = pa.StructArray.from_arrays(list(values.values()), fields=list(self._schema))
        return fields, filled, self._accepted(given, values)

    def _read_json(self, block: pa.Buffer, names: tuple[str, ...]) -> pa.Table:
        """The named fields of all texts; all fields if some text has another one.

        A field that no text has costs as much as one that all have, and producers lack the same ones.
        """
        # One block, so that white space may hold line breaks.
        whole = pyarrow.json.ReadOptions(use_threads=False, block_size=block.size + 1)
        try:
            return pyarrow.json.read_json(pa.BufferReader(block), whole, self._options_for(names))
        except pa.ArrowInvalid:
            everything = tuple(self._schema.names)
            if names == everything:
                raise
            return self._read_json(block, everything)

    def _fields_of(self, first: pa.StringScalar) -> tuple[str, ...]:
        """Those of one record. Keys stand in the text as they are: the pattern lets no escapes in."""
        text = first.as_py()
        return tuple(name for name, key in self._keys.items() if key in text)

    def _options_for(self, names: tuple[str, ...]) -> pyarrow.json.ParseOptions:
        if names not in self._options:
            # As text first: Arrow's reader knows no timestamps with and without an offset side by side.
            fields = [self._schema.field(name) for name in names]
            as_text = [pa.field(f.name, pa.string() if _is_moment(f) else f.type) for f in fields]
            self._options[names] = pyarrow.json.ParseOptions(
                explicit_schema=pa.schema(as_text), unexpected_field_behavior="error"
            )
        return self._options[names]

    def _accepted(self, given: Mapping[str, pa.Array], values: Mapping[str, pa.Array]) -> pa.BooleanArray:
        accepted = pa.repeat(pa.scalar(True), len(given[self._columns[0].name]))
        for column in self._columns:
            value = values[column.name] if column.transform is not None else given[column.name]
            for check in _checks(column, value):
                # A default is not judged; a field that may be null is null or allowed.
                accepted = pc.and_(accepted, check.fill_null(not column.required))
        return accepted


_Part = tuple[npt.NDArray[np.intp], pa.StructArray, pa.ListArray]


def _column_of(table: pa.Table, field: pa.Field) -> pa.Array:
    """A field of all records; null where a record lacks it."""
    if field.name not in table.column_names:
        return pa.nulls(len(table), field.type)
    values = table[field.name].combine_chunks()
    return _moments(values) if _is_moment(field) else values


def _checks(column: Column, value: pa.Array) -> list[pa.BooleanArray]:
    checks = [value.is_valid()] if column.required else []
    if column.minimum is not None:
        checks.append(pc.greater_equal(value, pa.scalar(column.minimum).cast(value.type)))
    if column.maximum is not None:
        checks.append(pc.less_equal(value, pa.scalar(column.maximum).cast(value.type)))
    if column.max_length is not None:
        checks.append(pc.less_equal(pc.utf8_length(value), column.max_length))
    if column.type is ColumnType.TIMESTAMP:
        earliest = column.earliest or datetime(1, 1, 2, tzinfo=UTC)
        checks.append(pc.greater_equal(value, pa.scalar(earliest, value.type)))
        checks.append(pc.less_equal(value, pa.scalar(_LAST, value.type)))
    return checks


def _moments(text: pa.StringArray) -> pa.TimestampArray:
    """ISO 8601 texts as moments; without an offset they are UTC."""
    return pc.replace_substring_regex(text, _WITHOUT_OFFSET, r"\1Z").cast(pa.timestamp("us", tz="UTC"))


def _is_moment(field: pa.Field) -> bool:
    return bool(pa.types.is_timestamp(field.type))


def _utf8(values: pa.BinaryArray) -> tuple[pa.StringArray, npt.NDArray[np.intp]]:
    """The values that are UTF-8, as text, and their positions."""
    everything = np.arange(len(values))
    try:
        return values.cast(pa.string()), everything
    except pa.ArrowInvalid:
        valid = np.array([_is_utf8(value.as_py()) for value in values])
        return values.filter(pa.array(valid)).cast(pa.string()), everything[valid]


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
