"""What the contracts become in PostgreSQL, as text; that it runs is tested on a real server."""

from __future__ import annotations

import pytest

from medallion_contracts.compile.postgres import (
    TOUCHED,
    VERSIONS,
    column_type,
    create_table,
    literal,
    publication,
    quoted,
    scope_of,
    staged_columns,
)
from medallion_contracts.grain import version_table
from medallion_contracts.loader import load_dataset
from medallion_contracts.model import Column, ColumnType

DATASET = load_dataset("customers")


def test_identifiers_cannot_leave_their_quotes() -> None:
    assert quoted("gold", 'a"; DROP TABLE b; --') == '"gold"."a""; DROP TABLE b; --"'


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (12, "12"), ("O'Neil", "'O''Neil'")], ids=str
)
def test_constants_of_a_contract_are_literals(value: object, text: str) -> None:
    assert literal(value) == text


@pytest.mark.parametrize("kind", list(ColumnType))
def test_every_contract_type_has_a_postgres_type(kind: ColumnType) -> None:
    assert column_type(Column("c", kind, "", precision=10, scale=2))


def test_a_gold_table_has_types_not_null_and_the_key_and_no_rule() -> None:
    statement = create_table(DATASET.gold["segment_hourly"])
    assert '"monthly_charges_sum" numeric(20,2) NOT NULL' in statement
    assert 'PRIMARY KEY ("hour", "contract", "internet_service")' in statement
    assert "CHECK" not in statement


def test_each_table_is_decided_about_by_customer_version_or_hour() -> None:
    scopes = {name: scope_of(DATASET, table).name for name, table in DATASET.gold.items()}
    assert scopes == {
        "customers": TOUCHED,
        "customer_features": TOUCHED,
        "customer_history": VERSIONS,
        "segment_hourly": "_hours",
    }


def test_rows_of_versions_carry_their_kafka_coordinates_in_staging() -> None:
    names = [column.name for column in staged_columns(DATASET, DATASET.gold["customers"])]
    assert names[-4:] == ["_topic", "_partition", "_offset", "_incarnation"]
    assert "_topic" not in [column.name for column in staged_columns(DATASET, DATASET.gold["segment_hourly"])]


def test_only_tables_with_the_event_time_guard_it() -> None:
    guarded = {
        name: "rejected_rows" in publication(DATASET, table, 1, whole=False).update
        for name, table in DATASET.gold.items()
    }
    assert guarded == {
        "customers": True,
        "customer_features": True,
        "customer_history": False,
        "segment_hourly": False,
    }
    assert "rejected_rows" not in publication(DATASET, DATASET.gold["customers"], 1, whole=True).update


def test_a_rebuild_decides_about_every_row() -> None:
    table = DATASET.gold["customers"]
    assert TOUCHED in publication(DATASET, table, 1, whole=False).delete
    assert TOUCHED not in publication(DATASET, table, 1, whole=True).delete


def test_the_version_table_is_the_history() -> None:
    assert version_table(DATASET).name == "customer_history"
