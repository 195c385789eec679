"""What a row of a gold table stands for: an entity, a version of one, a period, or a group of entities."""

from __future__ import annotations

import re
from enum import StrEnum

from medallion_contracts.model import Column, ColumnType, Dataset, Table

_TRUNCATED = re.compile(r"date_trunc\('(hour|day)'", re.IGNORECASE)
_TEXT = re.compile(r"'[^']*'")
_WORD = re.compile(r"[A-Za-z_]\w*")


class Grain(StrEnum):
    """Follows from the primary key."""

    ENTITY = "entity"  # the dataset's key: the newest version of each
    VERSION = "version"  # the key and a time: every version
    PERIOD = "period"  # starts with an hour or a day: aggregates of the versions of that time
    GROUP = "group"  # another column of the entity: aggregates of the entities that share it


def grain_of(dataset: Dataset, table: Table) -> Grain:
    """What a row of a gold table stands for."""
    first = table.primary_key[0]
    if first == dataset.key:
        return Grain.ENTITY if len(table.primary_key) == 1 else Grain.VERSION
    is_time = table.column(first).type in (ColumnType.TIMESTAMP, ColumnType.DATE)
    return Grain.PERIOD if is_time else Grain.GROUP


def tables_of(dataset: Dataset, grain: Grain) -> tuple[Table, ...]:
    """The gold tables of a grain."""
    return tuple(table for table in dataset.gold.values() if grain_of(dataset, table) is grain)


def has_history(dataset: Dataset) -> bool:
    """Whether gold keeps every version; without them each write computes all of gold from all of silver."""
    return bool(tables_of(dataset, Grain.VERSION))


def version_table(dataset: Dataset) -> Table:
    """The gold table with one row per version: its key is the entity's key and the version's time."""
    for table in tables_of(dataset, Grain.VERSION):
        return table
    raise KeyError(f"dataset {dataset.name} has no gold table with one row per version")


def first_seen_table(dataset: Dataset) -> Table | None:
    """The table of entities that says when each was first seen, None where there is none."""
    return next(
        (table for table in tables_of(dataset, Grain.ENTITY) if "first_seen_at" in table.column_names), None
    )


def source_of(dataset: Dataset, table: Table) -> Table:
    """The table whose rows a table of periods or groups aggregates.

    Raises:
        KeyError: there is none.
    """
    if grain_of(dataset, table) is Grain.PERIOD:
        return version_table(dataset)
    for source in tables_of(dataset, Grain.ENTITY):
        if set(table.primary_key) <= set(source.column_names):
            return source
    raise KeyError(f"no table of entities of {dataset.name} has the key of {table.name}")


def label_of(dataset: Dataset) -> tuple[Table, Column] | None:
    """The column that the enrichment source fills, and its table; None where no column says so."""
    for table in tables_of(dataset, Grain.ENTITY):
        for column in table.columns:
            if column.is_label:
                return table, column
    return None


def period_length(table: Table) -> str:
    """How long the periods of a table are, as a SQL interval: `1 hour` or `1 day`."""
    start = table.column(table.primary_key[0])
    found = _TRUNCATED.search(start.transform or "")
    unit = found[1].lower() if found else "hour"
    return f"1 {'day' if start.type is ColumnType.DATE else unit}"


def derived_columns(dataset: Dataset, table: Table) -> frozenset[str]:
    """Columns of an aggregate that are computed from its other columns, as an average from sum and count."""
    inner = set(source_of(dataset, table).column_names)
    measures = set(table.column_names) - set(table.primary_key) - inner
    return frozenset(
        column.name
        for column in table.columns
        if column.name not in table.primary_key
        and (measures - {column.name}) & set(_WORD.findall(_TEXT.sub("", column.transform or "")))
    )
