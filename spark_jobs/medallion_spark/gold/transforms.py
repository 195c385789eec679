"""What a dataset's module brings to the gold job, found by the dataset's name.

`medallion_spark/gold/<dataset>.py` declares one constant, `GOLD`. Everything else is said by the contracts:
the grain of a table by its key, its columns by their `transformLogic`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module, util

from medallion_contracts.compile.postgres import COORDINATES
from medallion_contracts.errors import ContractError
from medallion_contracts.grain import (
    Grain,
    derived_columns,
    first_seen_table,
    grain_of,
    has_history,
    source_of,
    tables_of,
    version_table,
)
from medallion_contracts.model import Column, ColumnType, Dataset, Table

PREVIOUS = "previous_"
_OF_HISTORY = ("valid_to", "is_first", "first_seen_at")


@dataclass(frozen=True)
class GoldTransforms:
    """The facts about an entity's history that the definitions of its gold tables refer to.

    Attributes:
        dataset: Whose.
        counters: Columns of a table of entities that count versions: those that differ from the version
            before in one of the named columns, or with none named every version.
        previous: Event columns whose value in the version before is wanted, as `previous_<name>`; null in a
            first version.
    """

    dataset: Dataset
    counters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    previous: tuple[str, ...] = ()

    @cached_property
    def history(self) -> Table | None:
        """The table of versions."""
        return version_table(self.dataset) if has_history(self.dataset) else None

    @cached_property
    def counting(self) -> Table | None:
        """The table of entities that holds the counters."""
        for table in tables_of(self.dataset, Grain.ENTITY):
            if self.counters and set(self.counters) <= set(table.column_names):
                return table
        return None

    @cached_property
    def version_columns(self) -> tuple[str, ...]:
        """Columns of a version: the event's, what was filled in, and where it came from."""
        return (*self.dataset.events.column_names, "defaulted_fields", *COORDINATES)

    @cached_property
    def facts(self) -> tuple[Column, ...]:
        """What an increment must know of the published versions that it does not read."""
        time = ColumnType.TIMESTAMP
        return (
            Column("kept_following", time, "Start of the next published version, if that stays."),
            Column("kept_first", time, "Start of the entity's oldest version that stays."),
            *(
                Column(f"other_{name}", ColumnType.LONG, f"{name} of the versions beside the rows given.")
                for name in self.counters
            ),
        )

    def problems(self) -> Iterator[str]:
        """What contradicts the contracts."""
        known = {*self.version_columns, *_OF_HISTORY, *self.counters}
        known |= {f"{PREVIOUS}{name}" for name in self.previous}
        events = set(self.dataset.events.column_names)
        used = {*self.previous, *(name for changed in self.counters.values() for name in changed)}
        yield from (f"{name} is no column of events" for name in sorted(used - events))
        if self.counters and self.counting is None:
            yield f"no gold table with the key {self.dataset.key} has the columns {', '.join(self.counters)}"
        for table in self.dataset.gold.values():
            where = f"gold_{table.name}"
            if grain_of(self.dataset, table) in (Grain.PERIOD, Grain.GROUP):
                yield from self._problems_of_aggregate(where, table)
                continue
            yield from (
                f"{where}.{column.name}: needs a transformLogic, or a place in {self.dataset.name}.py"
                for column in table.columns
                if column.transform is None and column.name not in known and not column.is_label
            )

    def _problems_of_aggregate(self, where: str, table: Table) -> Iterator[str]:
        if grain_of(self.dataset, table) is Grain.PERIOD and self.history is None:
            yield f"{where}: a table of hours or days needs one with a row per version beside it"
            return
        try:
            source = source_of(self.dataset, table)
        except KeyError as error:
            yield f"{where}: {error.args[0]}"
            return
        derived_columns(self.dataset, table)
        yield from (
            f"{where}.{column.name}: give it a transformLogic over the columns of {source.name}"
            for column in table.columns
            if column.transform is None and column.name not in source.column_names
        )
        if "is_first" in source.column_names and first_seen_table(self.dataset) is None:
            yield f"{where}: is_first of {source.name} needs a table of entities with first_seen_at"


def transforms_of(dataset: Dataset) -> GoldTransforms:
    """What the module of a dataset declares.

    Raises:
        ContractError: there is no such module, or it contradicts the contracts; lists every problem.
    """
    name = f"medallion_spark.gold.{dataset.name}"
    subject = f"gold of {dataset.name!r} cannot be written"
    if not dataset.gold or util.find_spec(name) is None:
        missing = "no gold_*.odcs.yaml" if not dataset.gold else f"no module {name}"
        raise ContractError(subject, [f"there is {missing}: see the README, Adding a dataset"])
    transforms = getattr(import_module(name), "GOLD", None)
    if not isinstance(transforms, GoldTransforms) or transforms.dataset != dataset:
        raise ContractError(subject, [f"{name} declares no GOLD of this dataset's contracts"])
    problems = list(transforms.problems())
    if problems:
        raise ContractError(subject, problems)
    return transforms
