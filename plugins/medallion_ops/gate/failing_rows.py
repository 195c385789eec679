"""Counts and shows the rows that fail a check: in Postgres, and masked before anybody sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from medallion_contracts.compile.check import ROWS, Check
from medallion_contracts.compile.great_expectations import version_column
from medallion_contracts.compile.postgres import COORDINATES, columns, quoted
from medallion_contracts.errors import GoldError
from medallion_contracts.model import Dataset
from medallion_ops.gate.masking import masked
from medallion_ops.gate.verdict import Example

if TYPE_CHECKING:
    import psycopg

MOST_EXAMPLES = 5


def failing_rows_query(check: Check, relations: Mapping[str, str]) -> str:
    """SELECT of the staged rows that fail a check about rows, all their columns; see `set_relations`."""
    if check.failing_rows is None:
        raise GoldError(f"{check.table}.{check.name} is about the table, it has no failing rows")
    return check.failing_rows.format_map(relations)


def failing_count(connection: psycopg.Connection, check: Check, relations: Mapping[str, str]) -> int | None:
    """How many rows fail; None when the check cannot say. For `relations` see `set_relations`."""
    if check.is_about_rows:
        query = failing_rows_query(check, relations)
    elif check.expectation == ROWS:
        query = str(check.arguments["unexpected_rows_query"]).format_map(relations)
    else:
        return None
    row = connection.execute(f"SELECT count(*) FROM ({query}) AS failing".encode()).fetchone()  # noqa: S608 - contract text
    return int(row[0]) if row else None


def examples(
    connection: psycopg.Connection, check: Check, dataset: Dataset, relations: Mapping[str, str]
) -> tuple[Example, ...]:
    """The first failing rows by key, at most five, nothing of them in clear but key and version."""
    version = version_column(dataset, dataset.gold[check.table])
    if not check.is_about_rows or version is None:
        return ()
    shown = [name for name in check.columns if name not in (dataset.key, version)]
    wanted = columns((dataset.key, version, *COORDINATES, *shown), "failing")
    rows = connection.execute(
        (
            f"SELECT {wanted} FROM ({failing_rows_query(check, relations)}) AS failing "  # noqa: S608 - contract text
            f"ORDER BY failing.{quoted(dataset.key)}, failing.{quoted(version)} LIMIT {MOST_EXAMPLES}"
        ).encode()
    )
    return tuple(
        Example(
            key=str(key),
            version=None if moment is None else moment.isoformat(),
            coordinates=None
            if offset is None
            else f"{topic}/{partition}@{offset}{f' of log {log}' if log else ''}",
            values={name: masked(value) for name, value in zip(shown, values, strict=True)},
        )
        for key, moment, topic, partition, offset, log, *values in rows
    )
