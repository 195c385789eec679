"""A rule as Great Expectations judges it and the SQL that names its failing rows agree, row by row."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from great_expectations import ExpectationSuite
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from medallion_contracts.compile.check import ROWS
from medallion_contracts.compile.great_expectations import compile_suite
from medallion_contracts.compile.history_checks import set_relations
from medallion_contracts.compile.postgres import columns
from medallion_contracts.model import Column, ColumnType, Table
from medallion_ops.gate.expectations import open_staging, to_expectation
from medallion_ops.gate.failing_rows import failing_rows_query
from staged_sets import DATASET, NOON, GoldDatabase

ROW_ID = "_offset"
FULL = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": [ROW_ID],
    "partial_unexpected_count": 1000,
}


def near(bounds: list[int]) -> st.SearchStrategy[int]:
    """Whole numbers around bounds, where rules change their mind."""
    return st.sampled_from([bound + step for bound in bounds for step in (-1, 0, 1)])


def values(column: Column) -> st.SearchStrategy[Any]:
    """Values of a column's type: usual ones, those about its bounds, hostile ones, and none."""
    of_type: dict[ColumnType, st.SearchStrategy[Any]] = {
        ColumnType.STRING: st.one_of(
            st.sampled_from(
                [*column.enum, "", "No", " No", "no", "a@b.c", "a b@c.d", "'; --", "{x}", "%s", ":a"]
            ),
            near([column.max_length or 5]).map(lambda length: "y" * length),
        ),
        ColumnType.INTEGER: near([0, 1, 12, 24, int(column.maximum or 2)]),
        ColumnType.LONG: near([0, 1, 5]),
        ColumnType.DECIMAL: near([0, 50_000]).map(lambda number: f"{number}.01"),
        ColumnType.BOOLEAN: st.booleans(),
        ColumnType.TIMESTAMP: st.one_of(
            st.just(NOON),
            st.integers(-1, 1).map(lambda s: (column.earliest or NOON) + timedelta(seconds=s)),
        ),
        ColumnType.STRINGS: st.just([]),
    }
    return st.one_of(of_type[column.type], of_type[column.type], st.none())


def rows_of(table: Table) -> st.SearchStrategy[list[dict[str, Any]]]:
    row = st.fixed_dictionaries({column.name: values(column) for column in table.columns})
    return st.lists(row, min_size=40, max_size=40)


def fill(gold: GoldDatabase, set_id: int, table: Table, rows: list[dict[str, Any]]) -> None:
    relation = set_relations(DATASET, table.name, set_id, whole=False)["batch"]
    with psycopg.connect(gold.dsn) as connection:
        connection.execute(f"TRUNCATE {relation}".encode())
        listed = columns([*table.column_names, ROW_ID])
        with connection.cursor().copy(f"COPY {relation} ({listed}) FROM STDIN".encode()) as copy:
            for number, row in enumerate(rows):
                copy.write_row([*(row[name] for name in table.column_names), number])


@pytest.mark.parametrize("name", ["customers", "customer_features"])
def test_great_expectations_and_sql_name_the_same_rows(gold: GoldDatabase, name: str) -> None:
    table = DATASET.gold[name]
    checks = {check.name: check for check in compile_suite(DATASET)[name] if check.is_about_rows}
    set_id = gold.stage([])
    relations = set_relations(DATASET, name, set_id, whole=False)
    suite = ExpectationSuite(name, expectations=[to_expectation(one, relations) for one in checks.values()])
    asset = open_staging(gold.secret).add_table_asset(
        name, table_name=f"s{set_id}_{name}", schema_name="staging"
    )
    definition = asset.add_batch_definition_whole_table("all")

    @settings(
        max_examples=3,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(rows_of(table))
    def agree(rows: list[dict[str, Any]]) -> None:
        fill(gold, set_id, table, rows)
        judged = definition.get_batch().validate(suite, result_format=FULL)
        for one in judged.results:
            check = checks[one.expectation_config.meta["check"]]
            query = failing_rows_query(check, relations)
            by_sql = {row[0] for row in gold.query(f"SELECT {ROW_ID} FROM ({query}) AS failing")}
            if check.expectation == ROWS:
                assert one.result["observed_value"] == len(by_sql), check.name
            else:
                found = one.result.get("unexpected_index_list") or ()
                assert {row[ROW_ID] for row in found} == by_sql, check.name

    agree()
