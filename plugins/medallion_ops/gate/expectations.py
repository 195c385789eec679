"""Checks -> Great Expectations objects, and their evaluation on staging tables in Postgres."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

# Before the import: Great Expectations reports its use to its maker unless told not to.
os.environ["GX_ANALYTICS_ENABLED"] = "false"

import great_expectations as gx
from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult
from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults
from great_expectations.datasource.fluent import SQLDatasource
from great_expectations.expectations.core import UnexpectedRowsExpectation
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.registry import get_expectation_impl

from medallion_contracts.compile.check import ROWS, Check
from medallion_contracts.compile.postgres import STAGING, staging_name
from medallion_contracts.errors import GoldError
from medallion_store.postgres import connect
from medallion_store.secret import Secret

_DATABASE_ERROR = re.compile(r"\(psycopg\.errors\.(\w+)\)")
_NO_ADDRESS = "postgresql+psycopg://gold@gold/gold"
_BIND_MARK = re.compile(r"(?<![:\w]):(?=\w)")


class UnexpectedRowsCounted(UnexpectedRowsExpectation):  # type: ignore[misc]  # no types, see pyproject.toml
    """Great Expectations' own, but it counts the rows in Postgres, never fetches them, and knows `mostly`."""

    mostly: float = 1.0

    metric_dependencies: ClassVar[tuple[str, ...]] = (
        "unexpected_rows_query.row_count",
        "table.row_count",
    )
    success_keys: ClassVar[tuple[str, ...]] = ("unexpected_rows_query", "mostly")

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: object = None,
    ) -> dict[str, Any]:
        unexpected = metrics["unexpected_rows_query.row_count"]
        allowed = (1.0 - self.mostly) * metrics["table.row_count"]
        # The small sum keeps 5 of 100 rows within `mostly: 0.95`, where 1.0 - 0.95 is a hair less than 0.05.
        return {"success": unexpected <= allowed + 1e-9, "result": {"observed_value": unexpected}}


def open_staging(dsn: Secret) -> SQLDatasource:
    """The database of a DSN as a data source of a context that lives in this process only."""
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    project = DataContextConfig(store_backend_defaults=stores, analytics_enabled=False)
    context = gx.get_context(mode="ephemeral", project_config=project)
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    # The address is libpq's to parse, the session pinned like every other: Great Expectations gets neither.
    return context.data_sources.add_postgres(
        "gold", connection_string=_NO_ADDRESS, kwargs={"creator": lambda: connect(dsn)}
    )


def validate(
    source: SQLDatasource, table: str, set_id: int, checks: Iterable[Check], relations: Mapping[str, str]
) -> ExpectationSuiteValidationResult:
    """Evaluate the checks of one staged table; the columns' rules share one scan.

    `relations` spells the other staged tables of the set. The result says yes or no for each check, whose
    name is in its configuration's meta; no value of a row is in it.

    Raises:
        GoldError: An expectation could not be evaluated; that is no verdict.
    """
    asset = source.add_table_asset(
        f"{table} of set {set_id}", table_name=staging_name(set_id, table), schema_name=STAGING
    )
    suite = ExpectationSuite(name=table, expectations=[to_expectation(check, relations) for check in checks])
    batch = asset.add_batch_definition_whole_table("all").get_batch()
    result = batch.validate(suite, result_format="BOOLEAN_ONLY")
    broken = [
        f"{one.expectation_config.meta['check']} ({', '.join(reasons)})"
        for one in result.results
        if (reasons := _exceptions(one.exception_info))
    ]
    if broken:
        raise GoldError(f"expectations on {table} could not be evaluated: {'; '.join(broken)}")
    return result


def to_expectation(check: Check, relations: Mapping[str, str]) -> Expectation:
    """The Great Expectations object of a check."""
    described = {
        "description": check.description,
        "severity": check.severity.value,
        "meta": {"check": check.name},
    }
    arguments = dict(check.arguments)
    if check.expectation == ROWS:
        arguments["unexpected_rows_query"] = _query(str(arguments["unexpected_rows_query"]), relations)
        return UnexpectedRowsCounted(**arguments, **described)
    return get_expectation_impl(check.expectation)(**arguments, **described)


def _query(query: str, relations: Mapping[str, str]) -> str:
    """A contract's query for Great Expectations, which fills in {batch} and runs it as sqlalchemy text."""
    own = "\x00"
    filled = query.format_map({**relations, "batch": own})
    escaped = filled.replace("{", "{{").replace("}", "}}").replace(own, "{batch}")
    return _BIND_MARK.sub(r"\\:", escaped)


def _exceptions(info: Mapping[str, Any]) -> list[str]:
    """Classes of the exceptions an expectation raised, none if it raised none.

    Only classes: the messages quote SQL, and Postgres' quote values. The information is nested by metric when
    several raised.
    """
    single = [info] if "raised_exception" in info else list(info.values())
    raised = [str(one.get("exception_message")) for one in single if one.get("raised_exception")]
    return sorted({found[1] if (found := _DATABASE_ERROR.search(text)) else "error" for text in raised})
