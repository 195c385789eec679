"""Puts the rows of a set that fail the gate on the list of rows that are kept out of gold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from medallion_contracts.compile.check import Check
from medallion_contracts.compile.great_expectations import compile_suite, version_column
from medallion_contracts.compile.history_checks import all_versions, has_same_content, set_relations
from medallion_contracts.compile.postgres import literal, quoted
from medallion_contracts.errors import GoldError
from medallion_contracts.grain import has_history, version_table
from medallion_contracts.model import Dataset, Severity
from medallion_ops.gate.failing_rows import failing_rows_query
from medallion_ops.gate.verdict import Verdict
from medallion_store.manifests import manifest
from medallion_store.rejected_rows import count_rejected, reject_rows

if TYPE_CHECKING:
    import psycopg


def reject_failing_rows(
    connection: psycopg.Connection, dataset: Dataset, verdict: Verdict, decided_by: str | None
) -> int:
    """Put the rows that fail critical expectations on the list that increments and rebuilds leave out.

    Without its newest version an entity falls back on the one before: where that one would fail too, it goes
    on the list with it, back to a version that passes. Doing it again adds nothing. Returns how many rows of
    this set are on the list now.

    Raises:
        GoldError: A failed critical expectation is about the table, so leaving rows out cannot help.
    """
    if not verdict.can_leave_rows_out:
        raise GoldError(f"set {verdict.set_id}: not every failed critical expectation is about rows")
    whole = manifest(connection, verdict.set_id).is_rebuild
    failed: dict[str, set[str]] = {}
    for label in verdict.failed_critical:
        table, name = label.split(".", 1)
        failed.setdefault(table, set()).add(name)
    for table, names in failed.items():
        failing = _rows_to_reject(dataset, table, names, verdict.set_id, whole=whole)
        reject_rows(connection, dataset, verdict.set_id, failing, decided_by or "nobody")
    return count_rejected(connection, verdict.set_id)


def _rows_to_reject(dataset: Dataset, table: str, names: Collection[str], set_id: int, *, whole: bool) -> str:
    """SELECT of key, `version` and failed `label` of the staged rows that must go for a table to pass."""
    version = version_column(dataset, dataset.gold[table])
    if version is None:
        raise GoldError(f"{table}.{min(names)} is about aggregates: their rows cannot be left out one by one")
    checks = compile_suite(dataset)[table]
    relations = set_relations(dataset, table, set_id, whole=whole)
    failing = _failing([check for check in checks if check.name in names], dataset, version, relations)
    if not has_history(dataset):
        return failing
    history, newest = version_table(dataset), dataset.gold[table]
    if newest.primary_key != (dataset.key,) or not has_same_content(dataset, history, newest):
        return failing
    key, moment = quoted(dataset.key), quoted(dataset.event_time)
    # Every version in the columns of the newest: what only that one has is the same for all.
    as_newest = ", ".join(
        f"h.valid_from AS {moment}"
        if name == dataset.event_time
        else f"{'h' if name in history.column_names else 'c'}.{quoted(name)}"
        for name in newest.column_names
    )
    would_fail = _failing(
        [
            check
            for check in checks
            if check.name in names
            or (
                check.severity is Severity.CRITICAL
                and check.is_about_rows
                and "mostly" not in check.arguments
            )
        ],
        dataset,
        version,
        {**relations, "batch": "versions"},
    )
    concerned = f"SELECT {key} FROM ({failing}) AS now"  # noqa: S608 - contract names
    return (
        f"WITH versions AS (SELECT {as_newest} "  # noqa: S608 - contract names
        f"FROM {all_versions(dataset, set_id, concerned, whole=whole)} AS h "
        f"JOIN {relations['batch']} AS c ON c.{key} = h.{key} WHERE h.{key} IN ({concerned})), "
        f"failing AS ({would_fail}), "
        f"passing AS (SELECT v.{key}, max(v.{moment}) AS since FROM versions AS v WHERE NOT EXISTS "
        f"(SELECT FROM failing AS f WHERE f.{key} = v.{key} AND f.version = v.{moment}) GROUP BY v.{key}) "
        f"SELECT f.{key}, f.version, f.label FROM failing AS f LEFT JOIN passing AS p ON p.{key} = f.{key} "
        "WHERE p.since IS NULL OR f.version > p.since"
    )


def _failing(checks: Iterable[Check], dataset: Dataset, version: str, relations: Mapping[str, str]) -> str:
    """SELECT of key, `version` and `label` of the rows that fail any of the checks."""
    return " UNION ALL ".join(
        f"SELECT f.{quoted(dataset.key)}, f.{quoted(version)} AS version, "  # noqa: S608 - contract names
        f"{literal(f'{check.table}.{check.name}')} AS label "
        f"FROM ({failing_rows_query(check, relations)}) AS f"
        for check in checks
    )
