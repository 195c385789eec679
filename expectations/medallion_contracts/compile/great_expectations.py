"""Contract -> the Great Expectations suite of each gold table, as plain data.

Every check carries the expectation's type and arguments (the gate builds the Great Expectations object from
them) and, when it is about rows, the SQL that lists the rows that fail it. The verdict comes from Great
Expectations; the SQL names the rows afterwards, so that no unexpected value ever enters a result of its own.
Both are made from one declaration here and must agree row by row (property-tested).

In SQL, `{batch}` stands for the table itself and `{<table>}` for another staged table of the same set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from medallion_contracts.compile.history_checks import (
    broken_versions,
    differing_from_current,
    has_same_content,
)
from medallion_contracts.compile.postgres import quoted
from medallion_contracts.errors import ContractError
from medallion_contracts.model import Column, ColumnType, Dataset, QualityRule, Severity, Table

NOT_NULL = "expect_column_values_to_not_be_null"
IN_SET = "expect_column_values_to_be_in_set"
BETWEEN = "expect_column_values_to_be_between"
LENGTHS = "expect_column_value_lengths_to_be_between"
REGEX = "expect_column_values_to_match_regex"
PAIR_GREATER = "expect_column_pair_values_a_to_be_greater_than_b"
PAIR_EQUAL = "expect_column_pair_values_to_be_equal"
UNIQUE = "expect_column_values_to_be_unique"
COMPOUND_UNIQUE = "expect_compound_columns_to_be_unique"
ROW_COUNT = "expect_table_row_count_to_be_between"
ROW_COUNT_EQUAL = "expect_table_row_count_to_equal"
ROWS = "unexpected_rows_expectation"
DIVERGENCE = "expect_column_kl_divergence_to_be_less_than"

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


@dataclass(frozen=True)
class Check:
    """One expectation on one staged table.

    `failing_rows` is a SELECT of all columns of the rows that fail, None when the check is about the table
    as a whole; `columns` are the columns whose (masked) values explain a failing row.
    """

    table: str
    name: str
    description: str
    severity: Severity
    expectation: str
    arguments: Mapping[str, object]
    columns: tuple[str, ...] = ()
    failing_rows: str | None = None

    @property
    def is_about_rows(self) -> bool:
        """Whether publishing without the failing rows would satisfy it."""
        return self.failing_rows is not None


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
        if check.arguments.get("unexpected_rows_query") == _repeated_keys(table.primary_key)
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
    yield _check(
        table,
        f"{table.name}_key",
        f"{' and '.join(table.primary_key)} identify a row of {table.name}.",
        Severity.CRITICAL,
        COMPOUND_UNIQUE,
        {"column_list": list(table.primary_key)},
    )


def _from_column(table: Table, column: Column) -> Iterable[Check]:
    def check(suffix: str, description: str, expectation: str, **arguments: object) -> Check:
        return _check(
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


def _repeated_keys(names: Iterable[str]) -> str:
    key = ", ".join(map(quoted, names))
    return f"SELECT {key} FROM {{batch}} GROUP BY {key} HAVING count(*) > 1"  # noqa: S608 - contract names


def _from_rule(table: Table, rule: QualityRule) -> Check:
    return _check(table, rule.name, rule.description, rule.severity, rule.expectation, rule.arguments)


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
            for name in _columns(rule.arguments)
            if name not in table.column_names
        ),
    ]
    problems.extend(f"{where}: {problem}" for problem in found)
    return bool(found)


def _check(
    table: Table,
    name: str,
    description: str,
    severity: Severity,
    expectation: str,
    arguments: Mapping[str, object],
) -> Check:
    if expectation in (UNIQUE, COMPOUND_UNIQUE):
        # Great Expectations counts them over windows, which sorts the table: far slower than a hash.
        query = _repeated_keys(_columns(arguments))
        return Check(
            table.name,
            name,
            description,
            severity,
            ROWS,
            {"unexpected_rows_query": query},
            _columns(arguments),
        )
    return Check(
        table.name,
        name,
        description,
        severity,
        expectation,
        arguments,
        _columns(arguments),
        None if expectation == ROW_COUNT else _failing_rows(expectation, arguments),
    )


def _columns(arguments: Mapping[str, object]) -> tuple[str, ...]:
    single = [arguments[name] for name in ("column", "column_A", "column_B") if name in arguments]
    several = cast("Iterable[object]", arguments.get("column_list", ()))
    return tuple(str(name) for name in (*single, *several))


def _failing_rows(expectation: str, arguments: Mapping[str, object]) -> str:
    if expectation == ROWS:
        return str(arguments["unexpected_rows_query"])
    return f"SELECT * FROM {{batch}} WHERE {_failing(expectation, arguments)}"  # noqa: S608 - quoted contract text


def _failing(expectation: str, arguments: Mapping[str, object]) -> str:
    """The SQL condition of a failing row. An empty value fails only NOT_NULL, as in Great Expectations."""
    if expectation in (PAIR_GREATER, PAIR_EQUAL):
        return _failing_pair(expectation, arguments)
    column = quoted(str(arguments["column"]))
    if expectation == NOT_NULL:
        return f"{column} IS NULL"
    if expectation == IN_SET:
        values = cast("Iterable[object]", arguments["value_set"])
        return f"{column} NOT IN ({', '.join(map(_literal, values))})"
    if expectation == REGEX:
        return f"NOT ({column} ~ {_literal(arguments['regex'])})"
    measured = f"length({column})" if expectation == LENGTHS else column
    bounds = [
        *([f"{measured} < {_literal(arguments['min_value'])}"] if "min_value" in arguments else []),
        *([f"{measured} > {_literal(arguments['max_value'])}"] if "max_value" in arguments else []),
    ]
    return f"({' OR '.join(bounds)})"


def _failing_pair(expectation: str, arguments: Mapping[str, object]) -> str:
    first, second = quoted(str(arguments["column_A"])), quoted(str(arguments["column_B"]))
    wanted = "=" if expectation == PAIR_EQUAL else ">=" if arguments.get("or_equal") else ">"
    return f"NOT ({first} {wanted} {second})"


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(value)
    # Braces would be taken for placeholders when {batch} is filled in.
    return "'" + str(value).replace("'", "''").replace("{", "{{").replace("}", "}}") + "'"


def _plain(number: Decimal | None) -> int | float | None:
    """Great Expectations knows no Decimal; the bounds have at most 15 digits, and a float holds these."""
    if number is None:
        return None
    return int(number) if number == number.to_integral_value() else float(number)
