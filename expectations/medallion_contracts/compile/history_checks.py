"""SQL of the checks across a table of versions, and what its placeholders stand for in a set.

A rebuild stages every version. An increment stages those that it changes: gold keeps the rest, so what
follows a staged version is looked up there.
"""

from __future__ import annotations

from medallion_contracts.compile.postgres import (
    GOLD,
    STAGING,
    VERSIONS,
    columns,
    quoted,
    same_values,
    staging_name,
)
from medallion_contracts.grain import version_table
from medallion_contracts.model import ColumnType, Dataset, Table

KEPT_FOLLOWING, KEPT_BEFORE = "kept_following", "kept_before"
"""Placeholders for what gold keeps around the versions of a set."""


def broken_versions(dataset: Dataset) -> str:
    """SELECT of the versions with a gap or an overlap behind them, or wrongly current."""
    key, start = map(quoted, version_table(dataset).primary_key)
    is_text = dataset.events.column(dataset.key).type is ColumnType.STRING
    by_key = f'{key} COLLATE "C"' if is_text else key
    # Any order groups the versions of a key; by bytes is the fastest. Great Expectations gives {batch}
    # an alias of its own where a query has no JOIN: none of the parts has one.
    return (
        f"SELECT {key}, {start} FROM (SELECT {key}, {start}, valid_to, is_current, "  # noqa: S608 - contract names
        f"least(lead({start}) OVER (PARTITION BY {by_key} ORDER BY {start}), kept_following) "
        f"AS following FROM (SELECT {key}, {start}, valid_to, is_current, "
        f"{{{KEPT_FOLLOWING}}} AS kept_following "
        f"FROM (SELECT * FROM {{batch}}) AS s {{{KEPT_BEFORE}}}) AS known) AS v "
        "WHERE valid_to IS DISTINCT FROM following OR is_current IS DISTINCT FROM (following IS NULL)"
    )


def differing_from_current(dataset: Dataset, history: Table, current: Table) -> str:
    """SELECT of the entities whose current version is not the row of the table of the newest ones."""
    key = quoted(dataset.key)
    shared = [column for column in history.column_names if column in current.column_names]
    content = f"ROW({', '.join(map(quoted, shared))}) AS content"
    return (
        "SELECT h.key AS history_key, c.key AS current_key FROM "  # noqa: S608 - contract names
        f"(SELECT {key} AS key, valid_from AS version, {content} FROM {{batch}} WHERE is_current) AS h "
        f"FULL JOIN (SELECT {key} AS key, {quoted(dataset.event_time)} AS version, {content} "
        f"FROM {{{current.name}}}) AS c ON h.key = c.key "
        "WHERE h.version IS DISTINCT FROM c.version OR h.content IS DISTINCT FROM c.content"
    )


def has_same_content(dataset: Dataset, history: Table, current: Table) -> bool:
    """Whether both hold the fields of an event: the one of each version, the other of the newest."""
    events = set(dataset.events.column_names) - {dataset.event_time}
    return events <= set(history.column_names) and events <= set(current.column_names)


def set_relations(dataset: Dataset, table: str, set_id: int, *, whole: bool) -> dict[str, str]:
    """What the placeholders in a check's SQL stand for, for a check of one staged table.

    Args:
        dataset: the dataset.
        table: the gold table whose staged rows `batch` is.
        set_id: the set.
        whole: whether the set decides about every row, as a rebuild does.
    """
    relations = {name: quoted(STAGING, staging_name(set_id, name)) for name in dataset.gold}
    changed = quoted(STAGING, staging_name(set_id, VERSIONS))
    return {
        **relations,
        "batch": relations[table],
        KEPT_FOLLOWING: "CAST(NULL AS timestamp with time zone)"
        if whole
        else _kept(dataset, changed, "after", "s"),
        KEPT_BEFORE: "" if whole else _kept_before(dataset, changed, relations),
    }


def all_versions(dataset: Dataset, set_id: int, entities: str, *, whole: bool) -> str:
    """FROM item: the versions of some entities as the set would make them, with the columns of staged ones.

    Args:
        dataset: the dataset.
        set_id: the set.
        entities: SELECT of the entities' keys.
        whole: whether the set decides about every row, as a rebuild does.
    """
    history = version_table(dataset)
    staged = quoted(STAGING, staging_name(set_id, history.name))
    if whole:
        return staged
    key, names = quoted(dataset.key), columns(history.column_names, "g")
    changed = quoted(STAGING, staging_name(set_id, VERSIONS))
    same = same_values(history.primary_key, "o", "g")
    return (
        f"(SELECT {names} FROM {staged} AS g UNION ALL SELECT {names} "  # noqa: S608 - contract names
        f"FROM {quoted(GOLD, history.name)} AS g WHERE g.{key} IN ({entities}) "
        f"AND NOT EXISTS (SELECT 1 FROM {changed} AS o WHERE {same}) "
        f"AND NOT EXISTS (SELECT 1 FROM {staged} AS o WHERE {same}))"
    )


def _kept(dataset: Dataset, changed: str, side: str, of: str) -> str:
    """Scalar SELECT: start of the version that gold keeps right before or after that of the alias `of`."""
    history = version_table(dataset)
    key, start = map(quoted, history.primary_key)
    comes, order = (">", "ASC") if side == "after" else ("<", "DESC")
    stays = f"NOT EXISTS (SELECT 1 FROM {changed} AS x WHERE {same_values(history.primary_key, 'x', 'k')})"  # noqa: S608 - contract names
    return (
        f"(SELECT k.{start} FROM {quoted(GOLD, history.name)} AS k WHERE k.{key} = {of}.{key} "  # noqa: S608 - contract names
        f"AND k.{start} {comes} {of}.{start} AND {stays} ORDER BY k.{start} {order} LIMIT 1)"
    )


def _kept_before(dataset: Dataset, changed: str, relations: dict[str, str]) -> str:
    """The versions of gold right before one that comes or goes, those that were not staged."""
    history = version_table(dataset)
    key, start = map(quoted, history.primary_key)
    same = same_values(history.primary_key, "o", "g")
    return (
        f"UNION ALL SELECT g.{key}, g.{start}, g.valid_to, g.is_current, "  # noqa: S608 - contract names
        f"{_kept(dataset, changed, 'after', 'g')} FROM (SELECT DISTINCT c.{key}, "
        f"{_kept(dataset, changed, 'before', 'c')} AS {start} FROM {changed} AS c) AS b "
        f", LATERAL (SELECT * FROM {quoted(GOLD, history.name)} AS g "
        f"WHERE {same_values(history.primary_key, 'g', 'b')} OFFSET 0) AS g "
        f"WHERE NOT EXISTS (SELECT 1 FROM {relations[history.name]} AS o WHERE {same})"
    )
