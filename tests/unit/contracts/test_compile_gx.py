"""The suite of the gate, as the contract implies and states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from medallion_contracts.compile.check import ROWS, Check
from medallion_contracts.compile.great_expectations import compile_suite, suite_fingerprint
from medallion_contracts.errors import ContractError
from medallion_contracts.loader import load_dataset
from medallion_contracts.model import Dataset, QualityRule, Severity

DATASET = load_dataset("customers")


def checks(table: str) -> Mapping[str, Check]:
    return {check.name: check for check in compile_suite(DATASET)[table]}


def with_rule(expectation: str, *, mostly: float | None = None, **arguments: Any) -> Dataset:
    """The dataset with one more rule on gold.customers."""
    if mostly is not None:
        arguments["mostly"] = mostly
    rule = QualityRule("rule", "A rule.", Severity.CRITICAL, expectation, arguments)
    table = DATASET.gold["customers"]
    return replace(DATASET, gold={**DATASET.gold, "customers": replace(table, rules=(*table.rules, rule))})


def test_a_column_implies_its_checks() -> None:
    customers = checks("customers")

    of_tenure = {name: check for name, check in customers.items() if check.columns == ("tenure",)}
    assert {name: check.arguments for name, check in of_tenure.items()} == {
        "tenure_present": {"column": "tenure"},
        "tenure_in_range": {"column": "tenure", "min_value": 0, "max_value": 1200},
    }
    assert customers["tenure_in_range"].failing_rows == (
        'SELECT * FROM {batch} WHERE ("tenure" < 0 OR "tenure" > 1200)'
    )
    assert customers["tenure_in_range"].description == "tenure is at least 0 and at most 1200."


def test_every_table_has_its_key_checked_once() -> None:
    for name, table in DATASET.gold.items():
        key = ", ".join(f'"{column}"' for column in table.primary_key)
        repeated = f"SELECT {key} FROM {{batch}} GROUP BY {key} HAVING count(*) > 1"
        found = [
            check
            for check in compile_suite(DATASET)[name]
            if check.arguments.get("unexpected_rows_query") == repeated
        ]
        assert len(found) == 1, name
        assert not found[0].is_about_rows


def test_a_history_is_checked_within_and_against_the_newest_versions() -> None:
    across = [check for check in checks("customer_history").values() if check.expectation == ROWS]

    assert {
        "customer_history_unbroken",
        "customer_history_current_is_customers",
    } <= {check.name for check in across}


def test_names_are_unique_within_a_table() -> None:
    for name, suite in compile_suite(DATASET).items():
        names = [check.name for check in suite]
        assert len(names) == len(set(names)), name


def test_the_fingerprint_follows_what_the_suite_says() -> None:
    same = suite_fingerprint(compile_suite(DATASET))
    other = suite_fingerprint(compile_suite(with_rule("expect_column_values_to_not_be_null", column="email")))
    stricter = with_rule("expect_column_values_to_match_regex", column="email", regex="@", mostly=0.9)

    assert same == suite_fingerprint(compile_suite(DATASET))
    assert len({same, other, suite_fingerprint(compile_suite(stricter))}) == 3


def test_text_of_the_contract_is_data_in_sql() -> None:
    dataset = with_rule("expect_column_values_to_be_in_set", column="email", value_set=["it's {x}"])
    [check] = [one for one in compile_suite(dataset)["customers"] if one.name == "rule"]

    assert check.failing_rows is not None
    assert check.failing_rows.format(batch="t") == "SELECT * FROM t WHERE \"email\" NOT IN ('it''s {x}')"


@pytest.mark.parametrize(
    ("expectation", "arguments", "told"),
    [
        ("expect_column_values_to_be_dateutil_parseable", {"column": "email"}, "is not one of"),
        ("expect_column_values_to_not_be_null", {"column": "phone"}, "there is no column 'phone'"),
        (
            "expect_column_values_to_be_between",
            {"column": "tenure", "strict_min": True},
            "argument 'strict_min' is not supported",
        ),
        (
            "expect_compound_columns_to_be_unique",
            {"column_list": ["email"], "mostly": 0.5},
            "argument 'mostly' is not supported",
        ),
    ],
)
def test_a_rule_the_gate_cannot_honour_is_refused(
    expectation: str, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(ContractError, match="gold_customers: rule") as raised:
        compile_suite(with_rule(expectation, **arguments))

    assert told in str(raised.value)
