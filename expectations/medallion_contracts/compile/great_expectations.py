"""Contract -> the Great Expectations suite of each gold table, as plain data.

Every check carries the expectation's type and arguments; the gate builds the Great Expectations object from
them. For the SQL that names failing rows see `check`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal

from medallion_contracts.compile.check import (
    BETWEEN,
    COMPOUND_UNIQUE,
    IN_SET,
    LENGTHS,
    NOT_NULL,
    PAIR_EQUAL,
    PAIR_GREATER,
    REGEX,
    ROW_COUNT,
    ROW_COUNT_EQUAL,
    ROWS,
    UNIQUE,
    Check,
    columns_of,
    make_check,
    repeated_keys,
)
from medallion_contracts.compile.history_checks import (
    broken_versions,
    differing_from_current,
    has_same_content,
)
from medallion_contracts.errors import ContractError
from medallion_contracts.model import Column, ColumnType, Dataset, QualityRule, Severity, Table

_UNDERSTOOD = {
    NOT_NULL: {"column"},
    IN_SET: {"column", "value_set"},
    BETWEEN: {"column", "min_value", "max_value"},
    LENGTHS: {"column", "min_value", "max_value"},
    REGEX: {"column", "regex"},
    PAIR_GREATER: {"column_A", "column_B", "or_equal", "ignore_row_if"},
    PAIR_EQUAL: {"column_A", "column_B", "ignore_row_if"},
    ROWS: {"unexpected_rows_query"},
    UNIQUE: {"column"},
    COMPOUND_UNIQUE: {"column_list"},
    ROW_COUNT: {"min_value", "max_value"},
}
_WITHOUT_MOSTLY = {UNIQUE, COMPOUND_UNIQUE, ROW_COUNT}


def compile_suite(dataset: Dataset) -> dict[str, tuple[Check, ...]]:
    """The checks of every gold table: those its columns imply, its quality rules, those across tables.

    Raises:
        ContractError: A quality rule uses an expectation or an argument the gate cannot honour.
    """
    problems: list[str] = []
    suite: dict[str, tuple[Check, ...]] = {}
    for table in dataset.gold.values():
        stated = [
            _from_rule(table, rule) for rule in table.rules if not _is_unsupported(table, rule, problems)
        ]
        known = {_call(check) for check in stated}
        implied = [check for check in _from_columns(table) if _call(check) not in known]
        suite[table.name] = (*implied, *stated, *_from_history(dataset, table))
    if problems:
        raise ContractError(f"quality rules of {dataset.name!r} cannot be checked", problems)
    return suite


def storage_checks(dataset: Dataset) -> frozenset[str]:
    """Labels (`table.name`) of the checks that gold's own keys and NOT NULL enforce.

    A set that fails one of them cannot be stored, whoever approves it.
    """
    return frozenset(
        f"{check.table}.{check.name}"
        for table in dataset.gold.values()
        for check in compile_suite(dataset)[table.name]
        if check.arguments.get("unexpected_rows_query") == repeated_keys(table.primary_key)
        or (
            check.expectation == NOT_NULL
            and (table.column(check.columns[0]).required or check.columns[0] in table.primary_key)
        )
    )


def suite_fingerprint(suite: Mapping[str, Iterable[Check]]) -> str:
    """SHA-256 of everything the suite says, 64 hex digits: equal suites judge alike."""
    said = [
        [check.table, check.name, check.severity, check.expectation, check.arguments]
        for table in sorted(suite)
        for check in suite[table]
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def row_count_check(table: Table, rows: int) -> Check:
    """Staging holds exactly the rows that Spark says it wrote."""
    return Check(
        table.name,
        f"{table.name}_row_count",
        f"Staging holds the {rows:,} rows of {table.name} that the job wrote.",
        Severity.CRITICAL,
        ROW_COUNT_EQUAL,
        {"value": rows},
    )


def version_column(dataset: Dataset, table: Table) -> str | None:
    """The column that with the entity's key names the version of a row; None for aggregates."""
    if dataset.key not in table.primary_key:
        return None
    if dataset.event_time in table.column_names:
        return dataset.event_time
    return next((name for name in table.primary_key if name != dataset.key), None)


def _call(check: Check) -> str:
    """What a check says whatever its name."""
    return json.dumps([check.expectation, check.arguments], sort_keys=True, default=str)


def _from_columns(table: Table) -> Iterable[Check]:
    for column in table.columns:
        yield from _from_column(table, column)
    yield make_check(
        table,
        f"{table.name}_key",
        f"{' and '.join(table.primary_key)} identify a row of {table.name}.",
        Severity.CRITICAL,
        COMPOUND_UNIQUE,
        {"column_list": list(table.primary_key)},
    )


def _from_column(table: Table, column: Column) -> Iterable[Check]:
    def check(suffix: str, description: str, expectation: str, **arguments: object) -> Check:
        return make_check(
            table,
            f"{column.name}_{suffix}",
            f"{column.name} {description}.",
            Severity.CRITICAL,
            expectation,
            {"column": column.name, **arguments},
        )

    if column.required:
        yield check("present", "is never empty", NOT_NULL)
    if column.enum:
        is_number = column.type in (ColumnType.INTEGER, ColumnType.LONG)
        values = [int(value) if is_number else value for value in column.enum]
        yield check("allowed", f"is one of {', '.join(column.enum)}", IN_SET, value_set=values)
    if column.minimum is not None or column.maximum is not None:
        bounds = {"min_value": _plain(column.minimum), "max_value": _plain(column.maximum)}
        words = [
            *([f"at least {column.minimum}"] if column.minimum is not None else []),
            *([f"at most {column.maximum}"] if column.maximum is not None else []),
        ]
        bounds = {name: value for name, value in bounds.items() if value is not None}
        yield check("in_range", f"is {' and '.join(words)}", BETWEEN, **bounds)
    if column.earliest is not None:
        yield check(
            "not_too_early",
            f"is not before {column.earliest:%Y-%m-%d %H:%M} UTC",
            BETWEEN,
            min_value=column.earliest,
        )
    if column.max_length is not None:
        yield check(
            "fits", f"has at most {column.max_length} characters", LENGTHS, max_value=column.max_length
        )


def _from_history(dataset: Dataset, table: Table) -> Iterable[Check]:
    """What holds within a table of versions, and between it and the table of the newest ones."""
    scd2 = {"valid_from", "valid_to", "is_current"}
    if not scd2 <= set(table.column_names):
        return
    yield Check(
        table.name,
        f"{table.name}_unbroken",
        "Versions follow one another without gap or overlap, and only the last is current.",
        Severity.CRITICAL,
        ROWS,
        {"unexpected_rows_query": broken_versions(dataset)},
    )
    for current in dataset.gold.values():
        if current.primary_key == (dataset.key,) and has_same_content(dataset, table, current):
            yield Check(
                table.name,
                f"{table.name}_current_is_{current.name}",
                f"The current version in {table.name} is the row of {current.name}, for every {dataset.key}.",
                Severity.CRITICAL,
                ROWS,
                {"unexpected_rows_query": differing_from_current(dataset, table, current)},
            )


def _from_rule(table: Table, rule: QualityRule) -> Check:
    return make_check(table, rule.name, rule.description, rule.severity, rule.expectation, rule.arguments)


def _is_unsupported(table: Table, rule: QualityRule, problems: list[str]) -> bool:
    where = f"gold_{table.name}: {rule.name}"
    understood = _UNDERSTOOD.get(rule.expectation)
    if understood is None:
        problems.append(f"{where}: {rule.expectation} is not one of {', '.join(sorted(_UNDERSTOOD))}")
        return True
    allowed = understood if rule.expectation in _WITHOUT_MOSTLY else understood | {"mostly"}
    found = [
        *(f"argument {name!r} is not supported" for name in sorted(set(rule.arguments) - allowed)),
        *(
            f"there is no column {name!r}"
            for name in columns_of(rule.arguments)
            if name not in table.column_names
        ),
    ]
    problems.extend(f"{where}: {problem}" for problem in found)
    return bool(found)


def _plain(number: Decimal | None) -> int | float | None:
    """Great Expectations knows no Decimal; the bounds have at most 15 digits, and a float holds these."""
    if number is None:
        return None
    return int(number) if number == number.to_integral_value() else float(number)
