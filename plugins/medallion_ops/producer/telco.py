"""Reads the public IBM Telco Customer Churn table as a source: what its cells mean, row by row.

Which events a row becomes is said by a dataset's mapping; columns that no mapping names are left out.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar

from medallion_ops.producer.files import FileSource, Report, csv_rows
from medallion_ops.producer.undated_event import UndatedEvent

_AMOUNT = re.compile(r"\d{1,12}(\.\d{1,2})?", re.ASCII)
_WHOLE = re.compile(r"\d{1,6}", re.ASCII)
Cell = Callable[[str], object]
"""From a cell's text to a JSON value, None to leave the field out; ValueError says what is wrong with it."""


def text(cell: str) -> str:
    """Any text that is not blank."""
    if not cell.strip():
        raise ValueError("is blank")
    return cell


def yes_no(cell: str) -> bool:
    """Yes or No."""
    if cell not in ("Yes", "No"):
        raise ValueError("must be Yes or No")
    return cell == "Yes"


def one_zero(cell: str) -> bool:
    """1 or 0."""
    if cell not in ("1", "0"):
        raise ValueError("must be 1 or 0")
    return cell == "1"


def whole(cell: str) -> int:
    """A whole number."""
    if not _WHOLE.fullmatch(cell):
        raise ValueError("must be a whole number")
    return int(cell)


def amount(cell: str) -> float:
    """An amount of money."""
    if not _AMOUNT.fullmatch(cell):
        raise ValueError("must be an amount such as 29.85")
    return float(cell)  # 14 digits at most: JSON shows the digits that the file has


def amount_or_blank(cell: str) -> float | None:
    """An amount of money, or nothing."""
    return amount(cell) if cell.strip() else None


class TelcoTable(FileSource[UndatedEvent]):
    """The table in the order of the file; a dataset's mapping says what its rows become.

    `FIELDS` names, for each value that `events` needs, the column of the table and how its text is read.
    """

    FIELDS: ClassVar[Mapping[str, tuple[str, Cell]]]

    @abstractmethod
    def events(self, values: Mapping[str, object]) -> Iterable[tuple[str, dict[str, object]]]:
        """Key and fields of each event of a row; a value that the cell leaves out is missing."""

    def scan(self, report: Report) -> Iterator[UndatedEvent]:
        """The events of each row; a row with a cell that cannot be mapped is reported."""
        wanted = frozenset(column for column, _ in self.FIELDS.values())
        for line, cells in csv_rows(self.file, wanted, report):
            values: dict[str, object] = {}
            is_valid = True
            for field, (column, parse) in self.FIELDS.items():
                try:
                    value = parse(cells[column])
                except ValueError as error:
                    is_valid = False
                    report(f"line {line}: {column} {error}")
                else:
                    if value is not None:
                        values[field] = value
            if is_valid:
                for key, fields in self.events(values):
                    yield UndatedEvent(key, fields, f"line {line}")
