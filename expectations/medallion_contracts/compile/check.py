"""One check of a staged table: a Great Expectations expectation, and the SQL of the rows that fail it.

The verdict comes from Great Expectations; the SQL names the rows afterwards, so that no unexpected value ever
enters a result of its own. Both are made from one declaration here and must agree row by row
(property-tested). In SQL, `{batch}` stands for the table itself and `{<table>}` for another staged table of
the same set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from medallion_contracts.compile.postgres import quoted
from medallion_contracts.model import Severity, Table

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


def make_check(
    table: Table,
    name: str,
    description: str,
    severity: Severity,
    expectation: str,
    arguments: Mapping[str, object],
) -> Check:
    """A check with the columns it reads and, where it is about rows, the SQL of those that fail.

    Args:
        table: that it judges.
        name: by which people find it.
        description: what it asks for.
        severity: of a failure.
        expectation: its type.
        arguments: of the expectation.
    """
    if expectation in (UNIQUE, COMPOUND_UNIQUE):
        # Great Expectations counts them over windows, which sorts the table: far slower than a hash.
        query = repeated_keys(columns_of(arguments))
        return Check(
            table.name,
            name,
            description,
            severity,
            ROWS,
            {"unexpected_rows_query": query},
            columns_of(arguments),
        )
    return Check(
        table.name,
        name,
        description,
        severity,
        expectation,
        arguments,
        columns_of(arguments),
        None if expectation == ROW_COUNT else _failing_rows(expectation, arguments),
    )


def columns_of(arguments: Mapping[str, object]) -> tuple[str, ...]:
    """The columns that the arguments of an expectation name."""
    single = [arguments[name] for name in ("column", "column_A", "column_B") if name in arguments]
    several = cast("Iterable[object]", arguments.get("column_list", ()))
    return tuple(str(name) for name in (*single, *several))


def repeated_keys(names: Iterable[str]) -> str:
    """The query of keys that several rows have."""
    key = ", ".join(map(quoted, names))
    return f"SELECT {key} FROM {{batch}} GROUP BY {key} HAVING count(*) > 1"  # noqa: S608 - contract names


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
