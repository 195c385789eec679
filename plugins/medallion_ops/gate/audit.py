"""Audits one set of staging tables: checks, counts, examples, verdict, Data Docs.

Crash points: the verdict of a set is written in one transaction after everything is known, and replaced as a
whole when the set is checked again; before that nobody takes the set for checked. Data Docs come last, and a
set without them is only harder to look at.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medallion_contracts.compile.check import Check
from medallion_contracts.compile.great_expectations import (
    compile_suite,
    row_count_check,
    suite_fingerprint,
    version_column,
)
from medallion_contracts.compile.history_checks import set_relations
from medallion_contracts.compile.postgres import STAGING, quoted, staging_name
from medallion_contracts.errors import StaleStaging
from medallion_contracts.model import Dataset
from medallion_ops.gate.data_docs import write_data_docs
from medallion_ops.gate.drift_checks import Profile, checks_against_last, keep_profile, staged_profile
from medallion_ops.gate.expectations import open_staging, validate
from medallion_ops.gate.failing_rows import examples, failing_count
from medallion_ops.gate.verdict import Finding, Verdict, keep_verdict
from medallion_store.manifests import Manifest, manifest
from medallion_store.postgres import gold_connection
from medallion_store.publications import last_publication
from medallion_store.secret import Secret

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Plan:
    """What is to be checked: each table's checks in the order of the suite."""

    written: Manifest
    checks: dict[str, list[Check]]
    profile: Profile
    suite_hash: str


def audit_set(dsn: Secret, dataset: Dataset, set_id: int, data_docs: Path | None) -> Verdict:
    """Judge a set and keep the verdict in audit.gate_results.

    Args:
        dsn: Login of the writer.
        dataset: The dataset the set belongs to.
        set_id: The set.
        data_docs: Folder for the Data Docs; None for none.

    Raises:
        StaleStaging: A staging table is empty that the manifest says is not: Postgres crashed since the
            write. That is no fault of the data, so there is no verdict; write again.
        GoldError: There is no such set, or an expectation cannot be evaluated.
        ServiceUnavailable: Postgres does not answer.
    """
    with gold_connection(dsn) as connection:
        plan = _plan(connection, dataset, set_id)
    findings: list[Finding] = []
    results = []
    source = open_staging(dsn)
    for table, checks in plan.checks.items():
        started = time.monotonic()
        relations = set_relations(dataset, table, set_id, whole=plan.written.is_rebuild)
        result = validate(source, table, set_id, checks, relations)
        succeeded = {one.expectation_config.meta["check"]: bool(one.success) for one in result.results}
        with gold_connection(dsn) as connection:
            findings.extend(_findings(connection, dataset, plan.written, checks, succeeded, relations))
        results.append(result)
        failed = sorted(name for name, success in succeeded.items() if not success)
        log.info(
            "%s: %s rows, %s expectations, %s in %.1f s",
            table,
            f"{plan.written.tables[table].rows:,}",
            len(checks),
            f"failed: {', '.join(failed)}" if failed else "all hold",
            time.monotonic() - started,
        )
    findings.sort(key=lambda finding: (finding.table, finding.name))
    verdict = Verdict(set_id, plan.suite_hash, tuple(findings))
    with gold_connection(dsn) as connection:
        keep_verdict(connection, verdict)
        keep_profile(connection, set_id, plan.profile)
    if data_docs is not None:
        write_data_docs(data_docs, dataset.name, verdict, plan.written.created_at, results)
    return verdict


def _plan(connection: psycopg.Connection, dataset: Dataset, set_id: int) -> _Plan:
    written = manifest(connection, set_id)
    for name in dataset.gold:
        relation = quoted(STAGING, staging_name(set_id, name))
        rows = written.tables[name].rows
        has_rows = connection.execute(f"SELECT FROM {relation} LIMIT 1").fetchone()
        if rows and has_rows is None:
            raise StaleStaging(
                f"staging of {name}, set {set_id}, is empty, but {rows:,} rows were written: "
                "Postgres crashed since; write again"
            )
    suite = compile_suite(dataset)
    profile = staged_profile(connection, dataset, set_id)
    last = last_publication(connection, dataset.name)
    further = checks_against_last(connection, dataset, written, last, profile)
    checks = {
        name: [
            row_count_check(dataset.gold[name], written.tables[name].rows),
            *suite[name],
            *further.get(name, ()),
        ]
        for name in dataset.gold
    }
    return _Plan(written, checks, profile, suite_fingerprint(suite))


def has_versions(dataset: Dataset, table: str) -> bool:
    """Whether each row of a gold table is of one version of one entity."""
    return version_column(dataset, dataset.gold[table]) is not None


def _findings(
    connection: psycopg.Connection,
    dataset: Dataset,
    written: Manifest,
    checks: Iterable[Check],
    succeeded: dict[str, bool],
    relations: dict[str, str],
) -> Iterable[Finding]:
    for check in checks:
        success = succeeded[check.name]
        yield Finding(
            table=check.table,
            name=check.name,
            expectation_type=check.expectation,
            description=check.description,
            severity=check.severity,
            # Rows of aggregates have no version that could be left out.
            is_about_rows=check.is_about_rows and has_versions(dataset, check.table),
            success=success,
            row_count=written.tables[check.table].rows,
            failing_count=None if success else failing_count(connection, check, relations),
            examples=() if success else examples(connection, check, dataset, relations),
        )
