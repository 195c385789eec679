"""From contract tables to PostgreSQL: types, DDL, and the statements that publish a staging set.

Text only; whoever runs it brings the connection. Identifiers come from contracts and are quoted, values are
never part of a statement. PostgreSQL 14 or later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from medallion_contracts.grain import Grain, grain_of
from medallion_contracts.model import INCARNATION, Column, ColumnType, Dataset, Table

GOLD = "gold"
STAGING = "staging"
AUDIT = "audit"
COORDINATES = ("_topic", "_partition", "_offset", INCARNATION)
"""Silver's columns that say where a version came from; staging tables of versions carry them for the mail."""

_TYPES = {
    ColumnType.STRING: "text",
    ColumnType.INTEGER: "integer",
    ColumnType.LONG: "bigint",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TIMESTAMP: "timestamp with time zone",
    ColumnType.DATE: "date",
    ColumnType.STRINGS: "text[]",
}


def quoted(*parts: str) -> str:
    """An identifier, or a dotted path of them, in double quotes."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def columns(names: Iterable[str], alias: str | None = None) -> str:
    """A comma-separated list of quoted column names, each behind `alias.` when there is one."""
    prefix = f"{alias}." if alias else ""
    return ", ".join(prefix + quoted(name) for name in names)


def same_values(names: Iterable[str], one: str, other: str) -> str:
    """Condition that two relations agree in these columns."""
    return " AND ".join(f"{one}.{quoted(name)} = {other}.{quoted(name)}" for name in names)


def literal(value: object) -> str:
    """A contract's constant as a SQL literal; for DDL, which takes no bound values."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def column_type(column: Column) -> str:
    """The PostgreSQL type, spelled as `format_type` reports it."""
    if column.type is ColumnType.DECIMAL:
        return f"numeric({column.precision},{column.scale})"
    return _TYPES[column.type]


ROOM_FOR_UPDATES = "fillfactor = 90"
"""Storage parameter of gold tables: pages keep room for new versions of their rows, so that an update of a
row, which changes no key, leaves the indexes alone."""


def create_table(table: Table) -> str:
    """CREATE TABLE of a gold table: types, NOT NULL and the key; rules are the gate's business."""
    lines = [
        f"{quoted(column.name)} {column_type(column)}{' NOT NULL' if column.required else ''}"
        for column in table.columns
    ]
    lines.append(f"PRIMARY KEY ({columns(table.primary_key)})")
    return (
        f"CREATE TABLE {quoted(GOLD, table.name)} (\n    "
        + ",\n    ".join(lines)
        + f"\n) WITH ({ROOM_FOR_UPDATES})"
    )


def staging_name(set_id: int, name: str) -> str:
    """Name of a staging table of a set, e.g. s12_customers."""
    return f"s{set_id}_{name}"


@dataclass(frozen=True)
class Scope:
    """What a set decides about a gold table: all rows whose `columns` are in the staged list `name`.

    `_touched` holds the entities, `_versions` the versions that come or go, `_hours`, `_days` or the name of
    another column the periods and groups that the set computes again. A rebuild stages no such lists: it
    decides about every row.
    """

    name: str
    columns: tuple[Column, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)


TOUCHED = "_touched"
VERSIONS = "_versions"


def scope_of(dataset: Dataset, table: Table) -> Scope:
    """The list that scopes a gold table, by its grain.

    A set that adds one version to an entity with ten thousand decides about that version alone; of the other
    rows of history it may change some (the end of the version before), but it removes none.
    """
    grain, first = grain_of(dataset, table), table.primary_key[0]
    if grain in (Grain.PERIOD, Grain.GROUP):
        return Scope(f"_{first}s", (table.column(first),))
    name = TOUCHED if grain is Grain.ENTITY else VERSIONS
    return Scope(name, tuple(table.column(column) for column in table.primary_key))


def scopes(dataset: Dataset) -> tuple[Scope, ...]:
    """The lists a set of increments stages, each once."""
    return tuple(dict.fromkeys(scope_of(dataset, table) for table in dataset.gold.values()))


def staged_columns(dataset: Dataset, table: Table) -> tuple[Column, ...]:
    """Columns of a staging table: the gold table's, and for rows of versions the Kafka coordinates."""
    if grain_of(dataset, table) in (Grain.PERIOD, Grain.GROUP):
        return table.columns
    return table.columns + tuple(dataset.silver.column(name) for name in COORDINATES)


def create_staging(name: str, staged: Iterable[Column]) -> str:
    """CREATE an UNLOGGED staging table: no key, no NOT NULL, so that COPY is fast and the gate judges."""
    lines = ",\n    ".join(f"{quoted(column.name)} {column_type(column)}" for column in staged)
    return f"CREATE UNLOGGED TABLE {quoted(STAGING, name)} (\n    {lines}\n)"


def fingerprint_query(name: str) -> str:
    """Rows and checksum of a staging table: order does not matter, any changed, lost or doubled row does."""
    return (
        "SELECT count(*), coalesce(sum(hash_record_extended(t, 0)), 0)::text "
        f"FROM {quoted(STAGING, name)} AS t"
    )


@dataclass(frozen=True)
class TablePublication:
    """Statements that make one gold table equal to its candidates, to be run in this order.

    Their row counts are the rows deleted, updated and inserted.
    """

    delete: str
    update: str
    insert: str


def publication(dataset: Dataset, table: Table, set_id: int, *, whole: bool) -> TablePublication:
    """How a set changes one gold table: only rows that differ are written.

    Rows of the set's scope without a candidate are deleted. `whole` (a rebuild) puts every row in scope.
    Otherwise a table that carries the event time is not taken back to an older version, unless the stored one
    has been rejected since.
    """
    target = quoted(GOLD, table.name)
    source = quoted(STAGING, staging_name(set_id, table.name))
    same_key = same_values(table.primary_key, "g", "c")
    others = [name for name in table.column_names if name not in table.primary_key]
    differs = f"({columns(others, 'g')}) IS DISTINCT FROM ({columns(others, 'c')})"
    settings = ", ".join(f"{quoted(name)} = c.{quoted(name)}" for name in others)
    guard = "" if whole else _not_taken_back(dataset, table)
    return TablePublication(
        delete=(
            f"DELETE FROM {target} AS g WHERE NOT EXISTS (SELECT 1 FROM {source} AS c WHERE {same_key})"
            if whole
            else f"DELETE FROM {target} AS g USING ({_in_scope(dataset, table, set_id)} "
            f"EXCEPT SELECT {columns(table.primary_key)} FROM {source}) AS c WHERE {same_key}"
        ),
        update=(
            f"UPDATE {target} AS g SET {settings} FROM {source} AS c WHERE {same_key} AND {differs}{guard}"
        ),
        insert=(
            f"INSERT INTO {target} ({columns(table.column_names)}) "
            f"SELECT {columns(table.column_names, 'c')} FROM {source} AS c "
            f"WHERE NOT EXISTS (SELECT 1 FROM {target} AS g WHERE {same_key})"
        ),
    )


def _not_taken_back(dataset: Dataset, table: Table) -> str:
    key, time = dataset.key, dataset.event_time
    if time not in table.column_names:
        return ""
    return (
        f" AND (c.{quoted(time)} >= g.{quoted(time)} OR (g.{quoted(key)}::text, g.{quoted(time)}) IN "
        f"(SELECT key, event_time FROM {quoted(AUDIT, 'rejected_rows')} "
        f"WHERE dataset = {literal(dataset.name)} AND released_at IS NULL))"
    )


def _in_scope(dataset: Dataset, table: Table, set_id: int) -> str:
    """SELECT of the keys a set decides about; where the list holds whole keys, gold may lack some of them."""
    scope = scope_of(dataset, table)
    listed = quoted(STAGING, staging_name(set_id, scope.name))
    if table.primary_key == scope.column_names:
        return f"SELECT {columns(table.primary_key)} FROM {listed}"
    same = same_values(scope.column_names, "g", "s")
    return f"SELECT {columns(table.primary_key, 'g')} FROM {looked_up(listed, table, same)}"


def looked_up(listed: str, table: Table, condition: str) -> str:
    """FROM clause: for each row `s` of a staged list, the rows `g` of a gold table that meet `condition`.

    OFFSET 0 keeps the planner from reading the gold table first, as it does when it has no statistics yet.
    """
    return (
        f"{listed} AS s CROSS JOIN LATERAL "
        f"(SELECT * FROM {quoted(GOLD, table.name)} AS g WHERE {condition} OFFSET 0) AS g"
    )


LOOK_UP_STAGED = (
    "SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), "
    "set_config('jit', 'off', true)"
)
"""Before statements that join few staged rows with gold, to the end of the transaction: each staged row is
looked up in gold's index, so that an hour costs what it touches and not what gold holds. Left to itself, the
planner reads tables whole that are less than about a hundred times as large as the increment."""

WHOLE_READ_ROWS = 10
"""Gold tables of at most so many rows for each staged one are read whole, if the planner thinks so: a read in
order costs a tenth of a look-up, or less."""
