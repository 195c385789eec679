"""Reads the properties of an ODCS schema into columns: their types, limits and defaults."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from medallion_contracts.model import Column, ColumnType

_LOGICAL_TYPES = {
    "string": ColumnType.STRING,
    "integer": ColumnType.INTEGER,
    "number": ColumnType.DECIMAL,
    "boolean": ColumnType.BOOLEAN,
    "timestamp": ColumnType.TIMESTAMP,
    "date": ColumnType.DATE,
    "array": ColumnType.STRINGS,
}
_OPTIONS = {
    ColumnType.STRING: {"minLength", "maxLength"},
    ColumnType.INTEGER: {"minimum", "maximum", "format"},
    ColumnType.LONG: {"minimum", "maximum", "format"},
    ColumnType.DECIMAL: {"minimum", "maximum"},
    ColumnType.BOOLEAN: set(),
    ColumnType.TIMESTAMP: {"minimum", "timezone", "defaultTimezone"},
    ColumnType.DATE: set(),
    ColumnType.STRINGS: set(),
}
_DECIMAL = re.compile(r"(?:decimal|numeric)\(\s*(\d+)\s*,\s*(\d+)\s*\)", re.IGNORECASE)


class ColumnReader:
    """Reads columns one by one; problems go to one list."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems

    def column(self, where: str, item: Any) -> Column:
        """The column of one property.

        Args:
            where: its file and name, for messages.
            item: the property as parsed.
        """
        kind, precision, scale = self._type(where, item)
        options = item.logicalTypeOptions or {}
        self._problems.extend(
            f"{where}: logicalTypeOptions.{option} is not supported for {item.logicalType}"
            for option in sorted(set(options) - _OPTIONS[kind])
        )
        unknown = sorted(set(custom_properties(item)) - {"default", "enrichment"})
        self._problems.extend(f"{where}: custom property {name!r} is not known" for name in unknown)
        earliest = options.get("minimum") if kind is ColumnType.TIMESTAMP else None
        bounds = options if kind is not ColumnType.TIMESTAMP else {}
        column = Column(
            name=item.name,
            type=kind,
            description=item.description or "",
            required=bool(item.required),
            precision=precision,
            scale=scale,
            enum=tuple(str(entry.value) for entry in item.enum or []),
            minimum=self._number(where, bounds.get("minimum")),
            maximum=self._number(where, bounds.get("maximum")),
            earliest=self._moment(where, earliest),
            max_length=options.get("maxLength"),
            default=self._default(where, kind, custom_properties(item).get("default")),
            transform=item.transformLogic,
            classification=item.classification,
            is_label=custom_properties(item).get("enrichment") is True,
        )
        if not column.description:
            self._problems.append(f"{where}: a description is needed")
        if column.enum and column.default is not None and column.default not in column.enum:
            self._problems.append(f"{where}: the default {column.default!r} is not in the enum")
        return column

    def _type(self, where: str, item: Any) -> tuple[ColumnType, int | None, int | None]:
        kind = _LOGICAL_TYPES.get(item.logicalType or "")
        if kind is None:
            self._problems.append(
                f"{where}: logicalType {item.logicalType!r} is not one of {', '.join(_LOGICAL_TYPES)}"
            )
            return ColumnType.STRING, None, None
        if kind is ColumnType.INTEGER and (item.logicalTypeOptions or {}).get("format") == "i64":
            kind = ColumnType.LONG
        if kind is not ColumnType.DECIMAL:
            return kind, None, None
        match = _DECIMAL.fullmatch(item.physicalType or "")
        if match is None:
            self._problems.append(f"{where}: a number needs physicalType decimal(precision,scale)")
            return kind, None, None
        return kind, int(match[1]), int(match[2])

    def _number(self, where: str, value: object) -> Decimal | None:
        if value is None:
            return None
        try:
            return Decimal(str(value))
        except InvalidOperation:
            self._problems.append(f"{where}: {value!r} is not a number")
            return None

    def _moment(self, where: str, value: object) -> datetime | None:
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self._problems.append(f"{where}: {value!r} is not an ISO 8601 timestamp")
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    def _default(self, where: str, kind: ColumnType, value: object) -> str | int | bool | Decimal | None:
        if value is None:
            return None
        if kind is ColumnType.DECIMAL:
            return self._number(where, value)
        fits = {
            ColumnType.STRING: str,
            ColumnType.INTEGER: int,
            ColumnType.LONG: int,
            ColumnType.BOOLEAN: bool,
        }
        if isinstance(value, str | int | bool) and type(value) is fits.get(kind):
            return value
        self._problems.append(f"{where}: the default {value!r} is not a {kind.value}")
        return None


def custom_properties(element: Any) -> dict[str, Any]:
    """Custom properties of a schema or a column by name."""
    return {entry.property: entry.value for entry in element.customProperties or []}
