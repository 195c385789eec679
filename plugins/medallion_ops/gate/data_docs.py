"""Data Docs: Great Expectations' own pages, one for each table of a set, and their index.

What is rendered is the yes or no of each expectation, the counts, and the masked examples; unexpected values
never get here. Pages of the newest sets are kept, older ones removed.
"""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from great_expectations import get_context
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)

from medallion_ops.gate.docs_location import dataset_folder, run_name
from medallion_ops.gate.local_pages import make_local, write_index
from medallion_ops.gate.verdict import Finding, Verdict

KEPT_SETS = 100


def write_data_docs(
    folder: Path,
    dataset: str,
    verdict: Verdict,
    written_at: datetime,
    results: Iterable[ExpectationSuiteValidationResult],
) -> None:
    """Add the pages of a set to the site of its dataset, in place of any earlier ones of the same set."""
    site = folder / dataset_folder(dataset)
    _remove_old(site)
    context = get_context(mode="ephemeral", project_config=_configuration(site))
    run = RunIdentifier(run_name=run_name(verdict.set_id), run_time=written_at)
    findings = {(finding.table, finding.name): finding for finding in verdict.findings}
    identifiers = []
    for result in results:
        table = result.suite_name
        for one in result.results:
            finding = findings[table, one.expectation_config.meta["check"]]
            one.result = _shown(finding, is_strict="mostly" not in one.expectation_config.kwargs)
        result.meta["run_id"] = run
        identifiers.append(
            ValidationResultIdentifier(
                expectation_suite_identifier=ExpectationSuiteIdentifier(name=table),
                run_id=run,
                batch_identifier=table,
            )
        )
        context.validation_results_store.store_backend.set(
            identifiers[-1].to_tuple(), context.validation_results_store.serialize(result)
        )
    context.build_data_docs(site_names=["site"], resource_identifiers=identifiers)
    for page in site.glob(f"validations/*/{run_name(verdict.set_id)}/*/*.html"):
        make_local(site, page)
    write_index(site)


def _shown(finding: Finding, *, is_strict: bool) -> dict[str, object]:
    """The result of an expectation as the pages show it; `is_strict` when not a single row may fail."""
    if finding.success and finding.is_about_rows and is_strict:
        return {"element_count": finding.row_count, "unexpected_count": 0, "unexpected_percent": 0.0}
    if finding.failing_count is None:
        return {"element_count": finding.row_count}
    return {
        "element_count": finding.row_count,
        "unexpected_count": finding.failing_count,
        "unexpected_percent": finding.failing_percent,
        # Great Expectations puts these into the page as they are.
        "partial_unexpected_list": [html.escape(example.text) for example in finding.examples],
    }


def _configuration(site: Path) -> DataContextConfig:
    defaults = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    defaults.stores["validation_results_store"]["store_backend"] = {
        "class_name": "TupleFilesystemStoreBackend",
        "base_directory": str(site / "results"),
    }
    return DataContextConfig(
        store_backend_defaults=defaults,
        analytics_enabled=False,
        data_docs_sites={
            "site": {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "site_index_builder": {
                    "class_name": "DefaultSiteIndexBuilder",
                    "validation_results_limit": 4 * KEPT_SETS,
                },
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(site),
                },
            }
        },
    )


def _remove_old(site: Path) -> None:
    for suite in (*site.glob("validations/*"), *site.glob("results/*")):
        runs = sorted(suite.glob("set-*"), key=_set_id, reverse=True)
        for old in runs[KEPT_SETS - 1 :]:
            shutil.rmtree(old)


def _set_id(run: Path) -> int:
    found = re.fullmatch(r"set-(\d+)", run.name)
    return int(found[1]) if found else -1
