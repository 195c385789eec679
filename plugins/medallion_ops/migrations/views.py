"""The views of gold: those a dataset's contracts bring as SQL, and a masked one of each table with PII."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from medallion_contracts.compile.postgres import GOLD, quoted
from medallion_contracts.model import Dataset, Table


@dataclass(frozen=True)
class View:
    """A view of schema gold that shows no PII: a query, or `shown` expressions by column of a `source`."""

    name: str
    query: str = ""
    source: str = ""
    shown: Mapping[str, str] = field(default_factory=dict)

    def definition(self, stored: Sequence[str] = ()) -> str:
        """The query; what the stored view has comes first, as Postgres adds columns only at the end."""
        if self.query:
            return self.query
        names = [name for name in stored if name in self.shown]
        names += [name for name in self.shown if name not in names]
        expressions = ",\n    ".join(f"{self.shown[name]} AS {quoted(name)}" for name in names)
        return f"SELECT\n    {expressions}\nFROM {self.source}\n"


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
            shown = {
                column.name: f"left({quoted(column.name)}, 1) || '***'"
                if column.is_pii
                else quoted(column.name)
                for column in table.columns
            }
            yield View(f"{table.name}_masked", source=quoted(GOLD, table.name), shown=shown)


def has_pii(table: Table) -> bool:
    """Whether some column may identify a person."""
    return any(column.is_pii for column in table.columns)
