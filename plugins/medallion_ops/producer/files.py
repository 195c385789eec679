"""Reading a file as a source: line by line, and checked as a whole before the first record is sent."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from medallion_contracts.errors import SourceError

_SHOWN = 20
Item = TypeVar("Item")
Report = Callable[[str], None]
"""Takes one problem, e.g. `line 7: ...`; it may raise to end the reading."""


class FileSource(ABC, Generic[Item]):
    """A file of events; iterating it again begins again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def scan(self, report: Report) -> Iterator[Item]:
        """The file's events; what is no event is reported and left out."""

    def check(self) -> int:
        """Read the whole file and return its number of events.

        Raises:
            SourceError: The file cannot be read, has rows that are no events (lists them), or is empty.
        """
        problems: list[str] = []
        count = 0

        def note(problem: str) -> None:
            nonlocal count
            count += 1
            if count <= _SHOWN:
                problems.append(problem)

        events = sum(1 for _ in self._readable(self.scan(note)))
        if count > _SHOWN:
            problems.append(f"... and {count - _SHOWN:,} more")
        if not count and not events:
            problems.append("it holds no events")
        if problems:
            raise SourceError(f"nothing was sent, {self.path} is not valid", problems)
        return events

    def __iter__(self) -> Iterator[Item]:
        """The events of a checked file.

        Raises:
            SourceError: The file is not what it was when it was checked.
        """

        def refuse(problem: str) -> None:
            raise SourceError(f"{self.path} changed while it was sent", [problem])

        return self._readable(self.scan(refuse))

    def _readable(self, items: Iterator[Item]) -> Iterator[Item]:
        try:
            yield from items
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read", [error.strerror or str(error)]) from error


class Row(NamedTuple):
    """One row of a CSV file: the number of its last line, and its cells by column."""

    line: int
    cells: dict[str, str]


def csv_rows(path: Path, required: frozenset[str], report: Report) -> Iterator[Row]:
    """Rows of a comma-separated UTF-8 file whose first line names the columns; blank lines are no rows.

    Args:
        path: The file; a byte order mark is allowed.
        required: Columns it must have; without them nothing is read.
        report: Told of bad rows, which are left out.
    """
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, strict=True)
        try:
            header = next(reader, [])
            problems = _header_problems(header, required)
            for problem in problems:
                report(problem)
            if problems:
                return
            for cells in reader:
                if len(cells) == len(header):
                    yield Row(reader.line_num, dict(zip(header, cells, strict=True)))
                elif cells:
                    report(f"line {reader.line_num}: {len(cells)} cells, the header has {len(header)}")
        except csv.Error as error:
            report(f"line {reader.line_num}: not valid CSV ({error})")
        except UnicodeDecodeError as error:
            report(f"after line {reader.line_num}: not UTF-8 ({error.reason})")


def _header_problems(header: list[str], required: frozenset[str]) -> list[str]:
    problems = [f"line 1: the column {name!r} is there twice" for name in header if header.count(name) > 1]
    absent = sorted(required - set(header))
    if absent:
        found = ", ".join(header)[:200] or "nothing"
        problems.append(f"line 1: no column {', '.join(absent)}; the header has {found}")
    return sorted(set(problems))
