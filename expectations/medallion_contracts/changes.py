"""What lies between two versions of a dataset's contracts, table by table, and whether it breaks someone.

A change breaks readers when a query that ran, or the type of what it gave, may not hold any more; it breaks
producers when a record that was accepted may be rejected. Each has a name, `<table>.<column> <what>`, by
which a person accepts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from medallion_contracts.model import Column, ColumnType, Dataset, Table


@dataclass(frozen=True)
class Change:
    """One difference; `breaks` says whom, None for no one."""

    table: str
    what: str
    detail: str
    column: str | None = None
    breaks: str | None = None

    @property
    def name(self) -> str:
        """By which it is accepted."""
        subject = self.table if self.column is None else f"{self.table}.{self.column}"
        return f"{subject} {self.what}"


READERS, PRODUCERS = "readers", "producers"


def contract_changes(old: Dataset, new: Dataset) -> list[Change]:
    """All changes from one version of a dataset's contracts to another, in the order of its tables."""
    found: list[Change] = []
    for name, attribute in (("topic", "topic"), ("replay topic", "replay_topic"), ("key", "key")):
        before, after = getattr(old, attribute), getattr(new, attribute)
        if before != after:
            found.append(Change("events", f"{name} changed", f"{before} -> {after}", None, PRODUCERS))
    olds, news = tables_of(old), tables_of(new)
    for name in [*olds, *(name for name in news if name not in olds)]:
        if name not in news:
            found.append(Change(name, "removed", "the table is kept, and written no more", None, READERS))
        elif name not in olds:
            found.append(Change(name, "added", "a new table"))
        else:
            found.extend(_table_changes(name, olds[name], news[name]))
    return found


def tables_of(dataset: Dataset) -> dict[str, Table]:
    """The tables of a dataset by the name that people know: events, silver, gold.<name>."""
    gold = {f"gold.{name}": table for name, table in dataset.gold.items()}
    return {"events": dataset.events, "silver": dataset.silver, **gold}


def _table_changes(name: str, old: Table, new: Table) -> Iterator[Change]:
    if old.primary_key != new.primary_key:
        keys = f"({', '.join(old.primary_key)}) -> ({', '.join(new.primary_key)})"
        yield Change(name, "key changed", keys, None, READERS)
    if old.partitioned_by != new.partitioned_by:
        parts = f"{', '.join(old.partitioned_by)} -> {', '.join(new.partitioned_by)}"
        yield Change(name, "partitions changed", parts, None, READERS)
    gone = [column for column in old.columns if column.name not in new.column_names]
    come = [column for column in new.columns if column.name not in old.column_names]
    for column in gone:
        into = _renamed_to(old, new, column, come)
        what, detail = ("renamed", f"to {into.name}") if into else ("removed", "")
        yield Change(name, what, detail, column.name, READERS)
    for column in come:
        yield _added(name, column)
    for column in new.columns:
        if column.name in old.column_names:
            yield from _column_changes(name, old.column(column.name), column)
    yield from _rule_changes(name, old, new)


def _rule_changes(name: str, old: Table, new: Table) -> Iterator[Change]:
    said = {rule.name: rule for rule in old.rules}
    for rule in new.rules:
        if said.get(rule.name) != rule:
            what = "rule changed" if rule.name in said else "rule added"
            yield Change(name, what, "gold is checked by it", rule.name)
    for rule in old.rules:
        if rule.name not in {other.name for other in new.rules}:
            yield Change(name, "rule removed", "", rule.name)


def _renamed_to(old: Table, new: Table, gone: Column, come: list[Column]) -> Column | None:
    """The new column that stands in the old one's place, of the same type or meaning."""
    place = old.column_names.index(gone.name)
    before = old.column_names[place - 1] if place else None
    for column in come:
        at = new.column_names.index(column.name)
        is_there = (new.column_names[at - 1] if at else None) == before
        if column.description == gone.description or (is_there and _type(column) == _type(gone)):
            return column
    return None


def _added(table: str, column: Column) -> Change:
    if table == "events" and column.required:
        detail = "records without it are rejected"
        return Change(table, "added and required", detail, column.name, PRODUCERS)
    filled = (
        f"default {column.default}"
        if column.default is not None
        else f"{column.transform} where it is missing"
        if table == "events" and column.transform
        else "null where it is missing"
        if not column.always_has_value
        else ""
    )
    return Change(table, "added", filled, column.name)


def _column_changes(table: str, old: Column, new: Column) -> Iterator[Change]:
    def change(what: str, before: object, after: object, breaks: str | None = None) -> Change:
        return Change(table, what, f"{_shown(before)} -> {_shown(after)}", new.name, breaks)

    if _type(old) != _type(new):
        yield change("widened" if is_wider(old, new) else "narrowed", _type(old), _type(new), READERS)
    yield from _limit_changes(table, old, new, change)
    if old.always_has_value and not new.always_has_value:
        yield change("may be null", "never null", "nullable", READERS)
    if table == "events" and new.required and not old.required:
        yield change("required", "optional", "required", PRODUCERS)
    if old.default != new.default:
        yield change("default changed", old.default, new.default)
    if old.transform != new.transform:
        yield change("definition changed", old.transform, new.transform)
    if old.classification != new.classification:
        breaks = READERS if new.is_pii and not old.is_pii else None
        yield change("classification changed", old.classification, new.classification, breaks)


def _limit_changes(table: str, old: Column, new: Column, change: Callable[..., Change]) -> Iterator[Change]:
    """Of what a field may hold: less of it breaks producers, more of it is new to readers."""
    whom = PRODUCERS if table == "events" else None
    for what, before, after, is_less in (
        ("minimum", old.minimum, new.minimum, _is_more(new.minimum, old.minimum)),
        ("maximum", old.maximum, new.maximum, _is_more(old.maximum, new.maximum, at_end=True)),
        ("length", old.max_length, new.max_length, _is_more(old.max_length, new.max_length, at_end=True)),
        ("earliest time", old.earliest, new.earliest, _is_more(new.earliest, old.earliest)),
    ):
        if before != after:
            yield change(
                f"{what} {'narrowed' if is_less else 'widened'}", before, after, (is_less and whom) or None
            )
    if set(old.enum) != set(new.enum):
        is_less = bool(new.enum) and (not old.enum or not set(old.enum) <= set(new.enum))
        values = (", ".join(old.enum) or "any text", ", ".join(new.enum) or "any text")
        breaks = whom if is_less else READERS
        yield change(f"values {'narrowed' if is_less else 'widened'}", *values, breaks)


def _is_more(one: object, other: object, *, at_end: bool = False) -> bool:
    """Whether a limit is beyond another; no limit is the least of lower ones, and the most of upper ones."""
    if one is None or other is None:
        return (one is None and other is not None) if at_end else (one is not None and other is None)
    return bool(one > other)  # type: ignore[operator]  # both are of one kind


def is_wider(old: Column, new: Column) -> bool:
    """Whether every value of the old type is one of the new."""
    if (old.type, new.type) == (ColumnType.INTEGER, ColumnType.LONG):
        return True
    if new.type is not ColumnType.DECIMAL:
        return False
    whole = {ColumnType.INTEGER: 10, ColumnType.LONG: 19}.get(old.type)
    if whole is None:
        if old.type is not ColumnType.DECIMAL:
            return False
        whole = (old.precision or 38) - (old.scale or 0)
    scale = old.scale or 0
    return (new.scale or 0) >= scale and (new.precision or 38) - (new.scale or 0) >= whole


def _type(column: Column) -> str:
    if column.type is ColumnType.DECIMAL:
        return f"decimal({column.precision},{column.scale})"
    return column.type.value


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
