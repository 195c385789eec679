"""Files that hold events already: the producer carries them, right or wrong, and the stream judges them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from medallion_contracts.model import ColumnType, Dataset
from medallion_ops.producer.files import FileSource, Report, csv_rows
from medallion_ops.producer.records import LARGEST_RECORD, Planned, Record

_NUMBER = {
    ColumnType.INTEGER: re.compile(r"-?(0|[1-9]\d{0,18})", re.ASCII),
    ColumnType.LONG: re.compile(r"-?(0|[1-9]\d{0,18})", re.ASCII),
    ColumnType.DECIMAL: re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII),
}


class CsvEvents(FileSource[Planned]):
    """A CSV file with the event's field names in its header.

    A cell becomes the JSON of its field's type when it looks like one, and a JSON string otherwise; a blank
    cell is a missing field. Columns that the contract does not know are sent as strings.
    """

    def __init__(self, path: Path, dataset: Dataset, folder: Path | None = None) -> None:
        super().__init__(path, folder)
        self._key = dataset.key
        self._types = {column.name: column.type for column in dataset.events.columns}
        self._required = frozenset(column.name for column in dataset.events.columns if column.required)

    def scan(self, report: Report) -> Iterator[Planned]:
        """One record a row."""
        for line, cells in csv_rows(self.file, self._required, report):
            members = (
                f"{json.dumps(name, ensure_ascii=False)}:{self._json(name, cell)}"
                for name, cell in cells.items()
                if cell.strip()
            )
            record = Record(cells[self._key].encode() or None, f"{{{','.join(members)}}}".encode())
            if _fits(record, line, report):
                yield Planned(record, "event", f"line {line}")

    def _json(self, name: str, cell: str) -> str:
        kind = self._types.get(name)
        if kind is ColumnType.BOOLEAN and cell.lower() in ("true", "false"):
            return cell.lower()
        if kind in _NUMBER and _NUMBER[kind].fullmatch(cell):
            return cell  # the digits themselves: a float would round them
        return json.dumps(cell, ensure_ascii=False)


class JsonLines(FileSource[Planned]):
    """A file with one event a line; its bytes are sent as they are, blank lines are no events.

    The Kafka key is the line's key field when the line can be read as JSON, otherwise there is none.
    """

    def __init__(self, path: Path, dataset: Dataset, folder: Path | None = None) -> None:
        super().__init__(path, folder)
        self._key = dataset.key
        self._key_is_number = dataset.events.column(dataset.key).type in _NUMBER

    def scan(self, report: Report) -> Iterator[Planned]:
        """One record a line."""
        with self.file.open() as lines:
            line = 0
            while text := lines.readline(LARGEST_RECORD + 2):
                line += 1
                value = text.removesuffix(b"\n").removesuffix(b"\r")
                if line == 1:
                    value = value.removeprefix(b"\xef\xbb\xbf")
                record = Record(self._key_of(value), value)
                if not _fits(record, line, report):
                    while text and not text.endswith(b"\n"):
                        text = lines.readline(LARGEST_RECORD)
                elif value.strip():
                    yield Planned(record, "event", f"line {line}")

    def _key_of(self, value: bytes) -> bytes | None:
        try:
            key = json.loads(value)[self._key]
            if self._key_is_number:
                return str(key).encode() if type(key) is int else None
            return key.encode() if isinstance(key, str) and key else None
        except (ValueError, LookupError, TypeError, RecursionError):
            return None  # the stream will say what is wrong with it


def _fits(record: Record, line: int, report: Report) -> bool:
    if len(record.key or b"") + len(record.value or b"") <= LARGEST_RECORD:
        return True
    report(f"line {line}: key and value have more than {LARGEST_RECORD:,} bytes, too much for one record")
    return False
