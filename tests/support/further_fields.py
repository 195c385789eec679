"""Values for the fields that the events contract has got since a test's event was written down."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from math import prod
from typing import Any

from medallion_contracts.event_fields import factors
from medallion_contracts.loader import load_dataset
from medallion_contracts.model import Column, ColumnType, Dataset


def further_fields(known: Collection[str], dataset: Dataset | None = None) -> dict[str, object]:
    """A good value, as JSON has it, for every field of the event that is not known.

    Args:
        known: names of fields that have a value.
        dataset: whose events; customers if None.
    """
    events = (dataset or load_dataset("customers")).events
    return {column.name: _good_value(column) for column in events.columns if column.name not in known}


def _good_value(column: Column) -> object:
    if column.enum:
        return column.enum[0]
    if column.type is ColumnType.STRING:
        return "x"
    if column.type is ColumnType.BOOLEAN:
        return True
    if column.type is ColumnType.TIMESTAMP:
        return "2026-11-01T12:00:00Z"
    return int(column.minimum or 0) + 1


def further_values(known: Mapping[str, Any], dataset: Dataset | None = None) -> dict[str, Any]:
    """What silver holds in the fields that are not known: the default, the product, or null.

    Args:
        known: a version's fields.
        dataset: whose events; customers if None.
    """
    events = (dataset or load_dataset("customers")).events
    others = [column for column in events.columns if column.name not in known]
    values: dict[str, Any] = {column.name: column.default for column in others}
    for column in others:
        if column.transform is not None:
            values[column.name] = prod(Decimal({**known, **values}[name]) for name in factors(column))
    return values
