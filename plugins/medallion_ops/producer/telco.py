"""The public IBM Telco Customer Churn table as customer events.

Names and e-mail addresses, which the table lacks, are made up (`names`). The columns that the event has no
field for are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from medallion_ops.producer.files import FileSource, Report, csv_rows
from medallion_ops.producer.names import People
from medallion_ops.producer.undated_event import UndatedEvent

_AMOUNT = re.compile(r"\d{1,12}(\.\d{1,2})?", re.ASCII)
_WHOLE = re.compile(r"\d{1,6}", re.ASCII)


def _text(cell: str) -> str:
    if not cell.strip():
        raise ValueError("is blank")
    return cell


def _yes_no(cell: str) -> bool:
    if cell not in ("Yes", "No"):
        raise ValueError("must be Yes or No")
    return cell == "Yes"


def _one_zero(cell: str) -> bool:
    if cell not in ("1", "0"):
        raise ValueError("must be 1 or 0")
    return cell == "1"


def _whole(cell: str) -> int:
    if not _WHOLE.fullmatch(cell):
        raise ValueError("must be a whole number")
    return int(cell)


def _amount(cell: str) -> float:
    if not _AMOUNT.fullmatch(cell):
        raise ValueError("must be an amount such as 29.85")
    return float(cell)  # 14 digits at most: JSON shows the digits that the file has


def _amount_or_blank(cell: str) -> float | None:
    return _amount(cell) if cell.strip() else None


_KEY = "customer_id"
# field of the event: (column of the table, how its text becomes a JSON value; None leaves the field out)
_MAPPING: dict[str, tuple[str, Callable[[str], object]]] = {
    _KEY: ("customerID", _text),
    "gender": ("gender", _text),
    "senior_citizen": ("SeniorCitizen", _one_zero),
    "partner": ("Partner", _yes_no),
    "dependents": ("Dependents", _yes_no),
    "tenure": ("tenure", _whole),
    "phone_service": ("PhoneService", _yes_no),
    "internet_service": ("InternetService", _text),
    "contract": ("Contract", _text),
    "monthly_charges": ("MonthlyCharges", _amount),
    "total_charges": ("TotalCharges", _amount_or_blank),
}
_COLUMNS = frozenset(column for column, _ in _MAPPING.values())


class TelcoTable(FileSource[UndatedEvent]):
    """The table's customers in the order of the file."""

    def __init__(self, path: Path, seed: int, folder: Path | None = None) -> None:
        super().__init__(path, folder)
        self._people = People(seed)

    def scan(self, report: Report) -> Iterator[UndatedEvent]:
        """One event a row; a row with a cell that cannot be mapped is reported."""
        for line, cells in csv_rows(self.file, _COLUMNS, report):
            fields: dict[str, object] = {}
            is_valid = True
            for field, (column, parse) in _MAPPING.items():
                try:
                    value = parse(cells[column])
                except ValueError as error:
                    is_valid = False
                    report(f"line {line}: {column} {error}")
                else:
                    if value is not None:
                        fields[field] = value
            if is_valid:
                key = str(fields[_KEY])
                fields.update(self._people.person(key, str(fields["gender"]))._asdict())
                yield UndatedEvent(key, fields, f"line {line}")
