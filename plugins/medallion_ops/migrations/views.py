"""The views of gold: those a dataset's contracts bring as SQL, and a masked one of each table with PII."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from medallion_contracts.compile.postgres import GOLD, quoted
from medallion_contracts.model import Dataset, Table


@dataclass(frozen=True)
class View:
    """A view of schema gold that shows no PII."""

    name: str
    query: str

    @property
    def checksum(self) -> str:
        """Changes with the definition."""
        return hashlib.sha256(self.query.encode()).hexdigest()

    @property
    def statement(self) -> str:
        """CREATE VIEW."""
        return f"CREATE VIEW {quoted(GOLD, self.name)} AS\n{self.query}"


def views_of(dataset: Dataset) -> tuple[View, ...]:
    """All views of a dataset's gold."""
    return (*_masked(dataset), *_declared(dataset))


def _declared(dataset: Dataset) -> Iterator[View]:
    folder = resources.files("medallion_contracts").joinpath(dataset.name, "gold_views")
    if folder.is_dir():
        for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
            yield View(file.name.removesuffix(".sql"), file.read_text())


def _masked(dataset: Dataset) -> Iterator[View]:
    for table in dataset.gold.values():
        if table.primary_key == (dataset.key,) and has_pii(table):
            # One letter and no length: enough to recognise a row by, too little to find a person.
            shown = ",\n    ".join(
                f"left({quoted(column.name)}, 1) || '***' AS {quoted(column.name)}"
                if column.is_pii
                else quoted(column.name)
                for column in table.columns
            )
            yield View(f"{table.name}_masked", f"SELECT\n    {shown}\nFROM {quoted(GOLD, table.name)}\n")


def has_pii(table: Table) -> bool:
    """Whether some column may identify a person."""
    return any(column.is_pii for column in table.columns)
