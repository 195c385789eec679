"""The published versions that an increment needs: it costs what it changes, not what gold keeps."""

from __future__ import annotations

from medallion_contracts.compile.postgres import GOLD, columns, looked_up, quoted, same_values
from medallion_contracts.model import Table
from medallion_spark.gold.transforms import GoldTransforms


def kept_columns(gold: GoldTransforms, history: Table) -> Table:
    """The columns of `kept_query`: those of the table of versions, and the facts."""
    kept = (*history.columns, *gold.facts)
    return Table(history.name, history.description, kept, history.primary_key, (), (), (), "")


def kept_query(gold: GoldTransforms, history: Table, touched: str, changed: str) -> str:
    """SQL: the published versions that an increment needs, and what the others of their entities amount to.

    A version needs those before and after it that stay, an entity its two newest (the newest says what is
    known of it, the one before what changed). Counts are those of gold less what the rows found here add to
    them; the caller adds what the same rows and the new ones come to. So an increment costs what it changes,
    however long the histories are.

    Args:
        gold: what the dataset declares.
        history: its table of versions.
        touched: the staged list of entities.
        changed: the staged list of versions that come or go.
    """
    key, start = (quoted(name) for name in history.primary_key)
    stored = quoted(GOLD, history.name)
    stays = f"NOT EXISTS (SELECT 1 FROM {changed} AS x WHERE {same_values(history.primary_key, 'x', 'g')})"

    def kept(entity: str, condition: str, order: str, limit: int) -> str:
        return (
            f"(SELECT g.{start} FROM {stored} AS g WHERE g.{key} = {entity}.{key}{condition} AND {stays} "
            f"ORDER BY g.{start} {order} LIMIT {limit})"
        )

    found = looked_up("near", history, same_values(history.primary_key, "g", "s"))
    in_order = f"PARTITION BY {key} ORDER BY {start}"
    differs = "".join(
        f", ROW({columns(changed_columns)}) <> lag(ROW({columns(changed_columns)})) OVER ({in_order}) "
        f"AS {quoted(f'_{name}')}"
        for name, changed_columns in gold.counters.items()
        if changed_columns
    )
    counts = ""
    for name, changed_columns in gold.counters.items():
        only = f" FILTER (WHERE {quoted(f'_{name}')})" if changed_columns else ""
        counts += f", count(*){only} OVER versions AS {quoted(f'_n_{name}')}"
    others = "".join(
        f", f.{quoted(name)} - v.{quoted(f'_n_{name}')} AS {quoted(f'other_{name}')}"
        for name in gold.counters
    )
    counted = (
        f" CROSS JOIN LATERAL (SELECT * FROM {quoted(GOLD, gold.counting.name)} AS f "
        f"WHERE f.{key} = v.{key} OFFSET 0) AS f"
        if gold.counting
        else ""
    )
    return (
        f"WITH near AS (SELECT c.{key}, n.{start} FROM {changed} AS c CROSS JOIN LATERAL ("
        f"{kept('c', f' AND g.{start} < c.{start}', 'DESC', 1)} UNION ALL "
        f"{kept('c', f' AND g.{start} > c.{start}', 'ASC', 1)} UNION ALL SELECT c.{start}) AS n "
        f"UNION SELECT t.{key}, n.{start} FROM {touched} AS t "
        f"CROSS JOIN LATERAL {kept('t', '', 'DESC', 2)} AS n), "
        f"found AS (SELECT g.*, NOT ({stays}) AS goes FROM {found}), "
        f"compared AS (SELECT *{differs} FROM found), "
        f"counted AS (SELECT *{counts} FROM compared WINDOW versions AS (PARTITION BY {key})) "
        f"SELECT {columns(history.column_names, 'v')}, CASE WHEN NOT EXISTS (SELECT 1 FROM {changed} AS x "
        f"WHERE x.{key} = v.{key} AND x.{start} = v.valid_to) THEN v.valid_to END AS kept_following, "
        f"{kept('v', '', 'ASC', 1)} AS kept_first{others} FROM counted AS v{counted} WHERE NOT v.goes"
    )
