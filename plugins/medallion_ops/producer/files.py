"""Reading a file as a source: line by line, and checked as a whole before the first record is sent."""

from __future__ import annotations

import codecs
import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from medallion_contracts.errors import SourceError
from medallion_ops.producer.source_file import SourceFile

_SHOWN = 20
_BLOCK = 65_536
Item = TypeVar("Item")
Report = Callable[[str], None]
"""Takes one problem, e.g. `line 7: ...`; it may raise to end the reading."""


class FileSource(ABC, Generic[Item]):
    """A file of events; iterating it again begins again."""

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        self.file = SourceFile(path, folder)

    @abstractmethod
    def scan(self, report: Report) -> Iterator[Item]:
        """The file's events; what is no event is reported and left out."""

    def check(self) -> int:
        """Read the whole file and return its number of events.

        Raises:
            SourceError: The file cannot be read, is empty, or has rows that are no events (names the lines).
            ServiceUnavailable: Its disk or share has a trouble that may pass.
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
            raise SourceError(f"nothing was sent, {self.file.shown} is not valid", problems)
        return events

    def __iter__(self) -> Iterator[Item]:
        """The events of a checked file.

        Raises:
            SourceError: The file is not what it was when it was checked.
        """

        def refuse(problem: str) -> None:
            raise SourceError(f"{self.file.shown} changed while it was sent", [problem])

        return self._readable(self.scan(refuse))

    def _readable(self, items: Iterator[Item]) -> Iterator[Item]:
        try:
            yield from items
        except OSError as error:
            raise self.file.unreadable(error) from None


class Row(NamedTuple):
    """One row of a CSV file: the number of its last line, and its cells by column."""

    line: int
    cells: dict[str, str]


def csv_rows(file: SourceFile, required: frozenset[str], report: Report) -> Iterator[Row]:
    """Rows of a comma-separated UTF-8 file whose first line names the columns; blank lines are no rows.

    Args:
        file: The file; a byte order mark is allowed.
        required: Columns it must have; without them nothing is read.
        report: Takes bad rows, which are left out. Like all messages about a file it names lines and columns,
            and quotes nothing: what is no header may be a customer.
    """
    with io.TextIOWrapper(file.open(), encoding="utf-8-sig", newline="") as lines:
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
        except UnicodeDecodeError:
            report(_not_text(file))


def _not_text(file: SourceFile) -> str:
    """Text is decoded in blocks, far ahead of the rows: the line of the first wrong byte is looked up."""
    line, reason = 1, "it ends in the middle of a letter"
    decoder = codecs.getincrementaldecoder("utf-8")()
    with file.open() as content:
        for block in iter(partial(content.read, _BLOCK), b""):
            try:
                line += decoder.decode(block).count("\n")
            except UnicodeDecodeError as error:
                line, reason = line + error.object[: error.start].count(b"\n"), error.reason
                break
    return f"line {line}: not UTF-8 ({reason}); is it a text file, saved as UTF-8?"


def _header_problems(header: list[str], required: frozenset[str]) -> list[str]:
    problems = []
    first: dict[str, int] = {}
    for place, name in enumerate(header, start=1):
        if first.setdefault(name, place) != place:
            known = f" ({name})" if name in required else ""
            problems.append(f"line 1: columns {first[name]} and {place} have the same name{known}")
    absent = sorted(required - set(header))
    if absent:
        problems.append(
            f"line 1: no column {', '.join(absent)}; it has {len(header)} columns: is it the header at all?"
        )
    return problems
