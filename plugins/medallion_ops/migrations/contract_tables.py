"""Makes the gold tables what the contracts say, without losing a row.

Added columns, wider types, NOT NULL and a dropped key follow the contract by themselves. What could lose data
(a narrower type, another key) is refused with the remedy; what is beside it is done all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medallion_contracts.compile.postgres import (
    AUDIT,
    GOLD,
    ROOM_FOR_UPDATES,
    STAGING,
    column_type,
    create_table,
    literal,
    quoted,
)
from medallion_contracts.grain import Grain, source_of, tables_of
from medallion_contracts.model import Column, Dataset, Table
from medallion_ops.migrations.views import views_of
from medallion_store.postgres import has_relation

if TYPE_CHECKING:
    import psycopg

_WIDER = {("integer", "bigint"), ("integer", "numeric"), ("bigint", "numeric")}
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")


@dataclass(frozen=True)
class _Stored:
    type: str
    not_null: bool


@dataclass
class Changes:
    """Statements that bring tables forward, what cannot be done, and what is left for later.

    `retyping` are those that give columns another type, by table and column: they come first.
    """

    statements: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    retyping: dict[tuple[str, str], str] = field(default_factory=dict)
    emptied: list[str] = field(default_factory=list)
    """What has no rows or values any more that gold must compute again."""


def plan_schema_changes(connection: psycopg.Connection, dataset: Dataset) -> Changes:
    """What it takes to make the tables of a dataset what its contracts say; nothing is executed."""
    changes = Changes()
    for table in dataset.gold.values():
        stored = _stored_columns(connection, table.name)
        if not stored:
            changes.statements.append(create_table(table))
            changes.emptied.append(f"table gold.{table.name}")
        else:
            _compare(connection, dataset, table, stored, changes)
    _indexes(connection, dataset, changes)
    if not has_relation(connection, quoted(AUDIT, "rejected_rows")):
        lists = "exclusions" if has_relation(connection, quoted(STAGING, "exclusions")) else "manifests"
        changes.statements.extend((*_rejected_rows(), _number_on(lists)))
        # Gold of every dataset was published without the rows that were on it.
        changes.statements.append(_refresh("", [f"table {AUDIT}.rejected_rows"]))
    changes.statements.extend(_neutral_rejected_rows(connection))
    if changes.emptied:
        changes.statements.append(_refresh(dataset.name, changes.emptied))
    return changes


def own_relations(dataset: Dataset) -> list[str]:
    """Tables and views that the contracts declare, as schema.name."""
    names = [*dataset.gold, *(view.name for view in views_of(dataset))]
    return [*(f"{GOLD}.{name}" for name in names), f"{AUDIT}.rejected_rows"]


def _refresh(dataset: str, emptied: list[str]) -> str:
    """Makes the next write compute all of gold, if any of it was published before; "" for every dataset."""
    reason, publications = f"made again, so empty: {', '.join(emptied)}", quoted(GOLD, "publications")
    only = f"WHERE dataset = {literal(dataset)} " if dataset else ""
    return (
        f"UPDATE {publications} SET refresh_due = {literal(reason)} WHERE publication_id IN "
        f"(SELECT max(publication_id) FROM {publications} {only}GROUP BY dataset)"
    )


def _compare(
    connection: psycopg.Connection,
    dataset: Dataset,
    table: Table,
    stored: dict[str, _Stored],
    changes: Changes,
) -> None:
    name = quoted(GOLD, table.name)
    for column in table.columns:
        if column.name not in stored:
            changes.statements.extend(_added(dataset, name, column))
            changes.emptied.append(f"column gold.{table.name}.{column.name}")
        else:
            _compare_column(connection, table, column, stored[column.name], changes)
    _compare_key(connection, table, stored, changes)
    if not _has_room_for_updates(connection, table.name):
        changes.statements.append(f"ALTER TABLE {name} SET ({ROOM_FOR_UPDATES})")
    for extra in sorted(set(stored) - set(table.column_names)):
        changes.notes.append(f"gold.{table.name}.{extra} is in no contract any more: kept, not written")
        if stored[extra].not_null:
            changes.statements.append(f"ALTER TABLE {name} ALTER {quoted(extra)} DROP NOT NULL")


def _compare_key(
    connection: psycopg.Connection, table: Table, stored: dict[str, _Stored], changes: Changes
) -> None:
    """A key that somebody dropped is made again where the rows allow it; another one is refused."""
    key, wanted = _stored_key(connection, table.name), table.primary_key
    name, columns = quoted(GOLD, table.name), ", ".join(map(quoted, wanted))
    if key == wanted:
        return
    add = f"ALTER TABLE {name} ADD PRIMARY KEY ({columns})"
    if key:
        changes.problems.append(
            f"gold.{table.name}: the key is ({', '.join(key)}), the contract says ({', '.join(wanted)}); "
            "undo the change, or add a file to migrations/versions that drops the old key and says "
            f"`{add};`"
        )
    elif _may_have_key(connection, name, wanted, stored):
        changes.statements.append(add)
    else:
        changes.problems.append(
            f"gold.{table.name}: its primary key is gone, and rows have nulls in ({', '.join(wanted)}) "
            f"or the same values twice: remove those rows, then `{add};`"
        )


def _may_have_key(
    connection: psycopg.Connection, name: str, wanted: tuple[str, ...], stored: dict[str, _Stored]
) -> bool:
    there = [quoted(column) for column in wanted if column in stored]
    some_row = f"SELECT 1 FROM {name} LIMIT 1"
    if len(there) < len(wanted):  # a column of it was dropped, and comes back without values
        return connection.execute(some_row.encode()).fetchone() is None
    nulls = " OR ".join(f"{column} IS NULL" for column in there)
    wrong = (
        f"(SELECT 1 FROM {name} WHERE {nulls} LIMIT 1) UNION ALL "
        f"(SELECT 1 FROM {name} GROUP BY {', '.join(there)} HAVING count(*) > 1 LIMIT 1)"
    )
    return connection.execute(wrong.encode()).fetchone() is None


def _added(dataset: Dataset, name: str, column: Column) -> list[str]:
    """Rows published so far get the default that the contract gives a missing field.

    A required column without one stays nullable until a full write of gold has filled it: the changed
    contract makes the next write such a one.
    """
    declared = next((event for event in dataset.events.columns if event.name == column.name), column)
    add = f"ALTER TABLE {name} ADD COLUMN {quoted(column.name)} {column_type(column)}"
    if declared.default is None:
        return [add]
    return [
        f"{add} NOT NULL DEFAULT {literal(declared.default)}",
        f"ALTER TABLE {name} ALTER {quoted(column.name)} DROP DEFAULT",
    ]


def _compare_column(
    connection: psycopg.Connection, table: Table, column: Column, stored: _Stored, changes: Changes
) -> None:
    name = quoted(GOLD, table.name)
    wanted = column_type(column)
    if stored.type != wanted:
        if not _is_wider(stored.type, wanted):
            changes.problems.append(
                f"gold.{table.name}.{column.name}: is {stored.type}, the contract says {wanted}, which may "
                "not hold every value; undo the change, or add a file to migrations/versions that says how"
            )
            return
        changes.retyping[table.name, column.name] = (
            f"ALTER TABLE {name} ALTER {quoted(column.name)} TYPE {wanted}"
        )
    if stored.not_null and not column.required:
        changes.statements.append(f"ALTER TABLE {name} ALTER {quoted(column.name)} DROP NOT NULL")
    if column.required and not stored.not_null:
        found = connection.execute(
            f"SELECT 1 FROM {name} WHERE {quoted(column.name)} IS NULL LIMIT 1"
        ).fetchone()
        if found:
            changes.notes.append(
                f"gold.{table.name}.{column.name} still holds nulls: required after a full write"
            )
        else:
            changes.statements.append(f"ALTER TABLE {name} ALTER {quoted(column.name)} SET NOT NULL")


def _is_wider(stored: str, wanted: str) -> bool:
    old, new = _NUMERIC.fullmatch(stored), _NUMERIC.fullmatch(wanted)
    if old and new:
        (precision, scale), (new_precision, new_scale) = (map(int, match.groups()) for match in (old, new))
        return new_scale >= scale and new_precision - new_scale >= precision - scale
    if new and stored in ("integer", "bigint"):
        return int(new[1]) - int(new[2]) >= (10 if stored == "integer" else 19)
    return (stored, wanted) in _WIDER


def _indexes(connection: psycopg.Connection, dataset: Dataset, changes: Changes) -> None:
    """Rows are looked up by entity, which the key is for, and by what aggregates group them by."""
    wanted = [(table, table.primary_key[1]) for table in tables_of(dataset, Grain.VERSION)]
    wanted += [(source_of(dataset, table), table.primary_key[0]) for table in tables_of(dataset, Grain.GROUP)]
    for table, column in wanted:
        index = f"{table.name}_{column}_idx"
        if not has_relation(connection, quoted(GOLD, index)):
            changes.statements.append(
                f"CREATE INDEX {quoted(index)} ON {quoted(GOLD, table.name)} ({quoted(column)})"
            )


def _rejected_rows() -> list[str]:
    """Versions that a person kept out of gold, of all datasets; `released_at` lets one in again."""
    name = quoted(AUDIT, "rejected_rows")
    return [
        f"""CREATE TABLE {name} (
    rejection_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text NOT NULL,
    key text NOT NULL,
    event_time timestamp with time zone NOT NULL,
    expectations text[] NOT NULL DEFAULT '{{}}',
    set_id bigint REFERENCES staging.manifests,
    rejected_by text NOT NULL,
    rejected_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    released_by text,
    released_at timestamp with time zone
)""",
        f"CREATE UNIQUE INDEX rejected_rows_in_force ON {name} (dataset, key, event_time) "
        "WHERE released_at IS NULL",
        f"COMMENT ON TABLE {name} IS 'Versions kept out of gold by a decision, until released'",
    ]


def _neutral_rejected_rows(connection: psycopg.Connection) -> list[str]:
    """The list bore the names of one dataset's columns before there were two; its rows and index stay."""
    name = quoted(AUDIT, "rejected_rows")
    rows = connection.execute(
        "SELECT attnum, attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum IN (3, 4)",
        [name],
    )
    wanted = {3: "key", 4: "event_time"}
    return [
        f"ALTER TABLE {name} RENAME {quoted(str(column))} TO {quoted(wanted[number])}"
        for number, column in rows
        if column != wanted[number]
    ]


def _number_on(lists: str) -> str:
    """Counts on from the highest rejection in the sets' lists: none must bear the number of a lost one."""
    return (
        "SELECT setval(pg_get_serial_sequence('audit.rejected_rows', 'rejection_id'), known.highest) "
        f"FROM (SELECT max(id::bigint) AS highest FROM {quoted(STAGING, lists)}, "
        "jsonb_array_elements_text(excluded_rows) AS id) AS known WHERE known.highest IS NOT NULL"
    )


def _has_room_for_updates(connection: psycopg.Connection, name: str) -> bool:
    row = connection.execute(
        "SELECT reloptions FROM pg_class WHERE oid = to_regclass(%s)", [quoted(GOLD, name)]
    ).fetchone()
    return row is not None and ROOM_FOR_UPDATES.replace(" ", "") in (row[0] or ())


def _stored_columns(connection: psycopg.Connection, name: str) -> dict[str, _Stored]:
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [quoted(GOLD, name)],
    )
    return {column: _Stored(kind, not_null) for column, kind, not_null in rows}


def _stored_key(connection: psycopg.Connection, name: str) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT a.attname FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, position) "
        "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum "
        "WHERE i.indrelid = to_regclass(%s) AND i.indisprimary ORDER BY k.position",
        [quoted(GOLD, name)],
    )
    return tuple(row[0] for row in rows)
