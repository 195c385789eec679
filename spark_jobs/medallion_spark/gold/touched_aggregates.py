"""The aggregates that an increment touches, computed inside Postgres from the tables as they will be."""

from __future__ import annotations

import logging
import time

import psycopg

from medallion_contracts.compile.postgres import (
    GOLD,
    TOUCHED,
    VERSIONS,
    Scope,
    columns,
    looked_up,
    quoted,
    same_values,
    scope_of,
)
from medallion_contracts.grain import (
    Grain,
    first_seen_table,
    period_length,
    source_of,
    tables_of,
    version_table,
)
from medallion_contracts.model import Dataset, Table
from medallion_spark.gold import staging, versions
from medallion_spark.gold.candidates import staged

log = logging.getLogger(__name__)


class TouchedAggregates:
    """Stages the tables of periods and groups of one increment.

    Args:
        connected: an autocommit connection.
        dataset: the dataset; its tables of versions and entities are staged.
        set_id: the set to fill.
    """

    def __init__(self, connected: psycopg.Connection, dataset: Dataset, set_id: int) -> None:
        self._connected = connected
        self._dataset = dataset
        self._history = version_table(dataset)
        self._set_id = set_id

    def stage(self) -> dict[str, int]:
        """Stage the rows of the periods and groups that the increment touches."""
        listed: set[str] = set()
        rows: dict[str, int] = {}
        for grain, moved, of in (
            (Grain.PERIOD, self._moments, self._versions_of_periods),
            (Grain.GROUP, self._groups, self._entities_of_groups),
        ):
            for table in tables_of(self._dataset, grain):
                started = time.monotonic()
                scope = scope_of(self._dataset, table)
                if scope.name not in listed:
                    self._list_scope(scope, table, moved(table))
                    listed.add(scope.name)
                query = versions.aggregates_query(of(table), table, self._dataset)
                rows[table.name] = self._execute(
                    f"INSERT INTO {self._table(table.name)} ({columns(table.column_names)}) {query}"
                )
                seconds = time.monotonic() - started
                log.info("touched rows of %s: %s in %.1f s", table.name, f"{rows[table.name]:,}", seconds)
        return rows

    def _list_scope(self, scope: Scope, table: Table, moved: str) -> None:
        first = table.column(scope.column_names[0])
        self._execute(
            f"INSERT INTO {self._table(scope.name)} ({quoted(first.name)}) "
            f"SELECT DISTINCT {first.transform or quoted(first.name)} FROM ({moved}) AS moved"
        )
        staging.add_key(self._connected, self._set_id, scope)
        self._execute(f"ANALYZE {self._table(scope.name)}")

    def _moments(self, table: Table) -> str:
        """SELECT of the times whose period may differ from the published one.

        A version counts in its own period, and there as a new entity if it is the first. So: the times of
        versions that come or go, and where an entity's first version moves, the times it left and reached.
        """
        key, start = (quoted(name) for name in self._history.primary_key)
        moments = f"SELECT {start} FROM {self._table(VERSIONS)}"
        seen = first_seen_table(self._dataset)
        if "is_first" not in self._history.column_names or seen is None:
            return moments
        return (
            f"SELECT {start} FROM ({moments} UNION ALL SELECT moved.{start} "
            f"FROM {self._table(TOUCHED)} AS t "
            f"LEFT JOIN {self._table(seen.name)} AS c ON c.{key} = t.{key} "
            f"LEFT JOIN LATERAL (SELECT g.{start} FROM {quoted(GOLD, self._history.name)} AS g "
            f"WHERE g.{key} = t.{key} ORDER BY g.{start} LIMIT 1) AS was ON true "
            f"CROSS JOIN LATERAL (VALUES (was.{start}), (c.first_seen_at)) AS moved ({start}) "
            f"WHERE was.{start} IS DISTINCT FROM c.first_seen_at) AS m WHERE {start} IS NOT NULL"
        )

    def _versions_of_periods(self, table: Table) -> str:
        """FROM item: the versions of the listed periods, those that gold keeps as they are and the staged."""
        history, first = self._history, quoted(table.primary_key[0])
        start = quoted(history.primary_key[1])
        inside = f"g.{start} >= s.{first} AND g.{start} < s.{first} + interval '{period_length(table)}'"
        same = same_values(history.primary_key, "o", "g")
        return self._kept_and_staged(history, table, inside, same, (VERSIONS, history.name))

    def _groups(self, table: Table) -> str:
        """SELECT of the groups that touched entities were in and are in now."""
        source, key = source_of(self._dataset, table), quoted(self._dataset.key)
        first = quoted(table.primary_key[0])
        same = f"g.{key} = s.{key}"
        return (
            f"SELECT {first} FROM {self._table(source.name)} UNION ALL "
            f"SELECT g.{first} FROM {looked_up(self._table(TOUCHED), source, same)}"
        )

    def _entities_of_groups(self, table: Table) -> str:
        """FROM item: the entities of the listed groups, those that gold keeps as they are and the staged."""
        source, key = source_of(self._dataset, table), quoted(self._dataset.key)
        first = quoted(table.primary_key[0])
        same = f"g.{first} = s.{first}"
        return self._kept_and_staged(source, table, same, f"o.{key} = g.{key}", (TOUCHED,))

    def _kept_and_staged(
        self, source: Table, table: Table, belongs: str, same: str, replaced_by: tuple[str, ...]
    ) -> str:
        """FROM item: the rows of a source that belong to the listed periods or groups.

        Args:
            source: of the rows, in gold and staged.
            table: whose periods or groups are listed.
            belongs: condition that a row `g` is of the listed `s`.
            same: condition that `o`, a row of a staged table, takes the place of `g`.
            replaced_by: those staged tables.
        """
        names, listed = columns(source.column_names, "g"), self._table(scope_of(self._dataset, table).name)
        kept = " AND ".join(
            f"NOT EXISTS (SELECT 1 FROM {self._table(name)} AS o WHERE {same})" for name in replaced_by
        )
        return (
            f"(SELECT {names} FROM {looked_up(listed, source, belongs)} WHERE {kept} UNION ALL "
            f"SELECT {names} FROM {self._table(source.name)} AS g JOIN {listed} AS s ON {belongs}) AS v"
        )

    def _execute(self, statement: str) -> int:
        return self._connected.execute(statement.encode()).rowcount

    def _table(self, name: str) -> str:
        return staged(self._set_id, name)
