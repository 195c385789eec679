"""The columns that a table takes from another contract: `columnsFrom`, so that a column is declared once.

    columnsFrom: { contract: events, except: [email], rename: { updated_at: valid_from } }

takes every column of events but one, and one under another name: a field that is added to events is then in
this table too. `columns: [...]` takes those named and no others. `primaryKey` names the whole key of the
table when some of it are such columns, by their names here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from medallion_contracts.model import Column, Dataset, Table

_KEYS = ("contract", "columns", "except", "rename", "primaryKey")


@dataclass(frozen=True)
class ColumnsFrom:
    """One `columnsFrom` entry; `columns` is None where all columns are taken but those of `without`."""

    contract: str
    columns: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    primary_key: tuple[str, ...] = ()

    def taken(self, source: Table) -> list[Column]:
        """The source's columns as this table has them.

        Each row here holds what the event had, its default or what is derived: such a column is required. A
        renamed one says by its transform where it comes from.
        """
        return [
            replace(
                column,
                name=self.rename.get(column.name, column.name),
                required=column.always_has_value,
                default=None,
                transform=column.name if column.name in self.rename else None,
            )
            for column in source.columns
            if column.name not in self.without and (self.columns is None or column.name in self.columns)
        ]

    def problems(self, source: Table, own: Iterable[str]) -> Iterator[str]:
        """What is wrong with it.

        Args:
            source: the table of `contract`.
            own: names of the columns that the table declares itself.
        """
        named = [*(self.columns or ()), *self.without, *self.rename]
        for name in dict.fromkeys(named):
            if name not in source.column_names:
                yield f"columnsFrom names {name!r}, which {self.contract} does not have"
        if self.columns is not None and self.without:
            yield "columnsFrom has columns and except: give one of them"
        here = {column.name for column in self.taken(source)}
        for old, new in self.rename.items():
            if old in source.column_names and new not in here:
                yield f"columnsFrom renames {old!r}, which it does not take"
        for name in self.primary_key:
            if name not in here and name not in own:
                yield f"columnsFrom.primaryKey names {name!r}, which is no column of this table"


def read_columns_from(value: object, contracts: Iterable[str]) -> tuple[ColumnsFrom | None, list[str]]:
    """A `columnsFrom` entry as it stands in a contract; gives it, or None and what is wrong.

    Args:
        value: of the custom property.
        contracts: the files of the folder, without their ending.
    """
    if not isinstance(value, dict) or value.get("contract") not in set(contracts):
        return None, ["columnsFrom must name a contract of this folder, e.g. contract: events"]
    unknown = sorted(set(map(str, value)) - set(_KEYS))
    if unknown:
        return None, [f"columnsFrom.{name} is not one of {', '.join(_KEYS)}" for name in unknown]
    lists: dict[str, Any] = {name: value.get(name) for name in ("columns", "except", "primaryKey")}
    rename = value.get("rename", {})
    wrong = [name for name, entry in lists.items() if entry is not None and not isinstance(entry, list)]
    if wrong or not isinstance(rename, dict):
        return None, [f"columnsFrom.{(wrong or ['rename'])[0]} must be a {'list' if wrong else 'mapping'}"]
    taken = None if lists["columns"] is None else tuple(lists["columns"])
    return (
        ColumnsFrom(
            str(value["contract"]),
            taken,
            tuple(lists["except"] or ()),
            {str(old): str(new) for old, new in rename.items()},
            tuple(lists["primaryKey"] or ()),
        ),
        [],
    )


def version_problems(dataset: Dataset) -> Iterator[str]:
    """What the tables of versions lack: gold's increments are computed from the versions that they hold.

    A table of versions has the entity's key and the version's time as its key.
    """
    for name, table in dataset.gold.items():
        if len(table.primary_key) != 2 or table.primary_key[0] != dataset.key:
            continue
        start = table.primary_key[1]
        if start in table.column_names and table.column(start).transform != dataset.event_time:
            yield (
                f"gold_{name}: {start} must be {dataset.event_time}: "
                f"columnsFrom with rename: {{ {dataset.event_time}: {start} }}"
            )
        lacking = [
            column
            for column in dataset.events.column_names
            if column != dataset.event_time and column not in table.column_names
        ]
        if lacking:
            yield (
                f"gold_{name}: it holds one row a version, and lacks {', '.join(lacking)} of events: "
                "take all columns (columnsFrom without columns or except)"
            )
