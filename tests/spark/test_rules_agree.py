"""One rule of the contract, three engines: the stream's fast parser, its plain judge, and the gate.

Random customers, in range and out of it, go through all three; each must find the same fields of the same
rows at fault. What silver accepts, the gate therefore never blocks by a rule of a column.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
from great_expectations import ExpectationSuite
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from medallion_contracts.compile.check import NOT_NULL
from medallion_contracts.compile.great_expectations import compile_suite
from medallion_contracts.compile.history_checks import set_relations
from medallion_contracts.compile.plain_parser import PlainParser
from medallion_contracts.compile.postgres import columns
from medallion_contracts.judge import EventJudge
from medallion_contracts.model import Column, ColumnType
from medallion_ops.gate.expectations import open_staging, to_expectation
from medallion_ops.migrations.runner import migrate
from medallion_store.secret import Secret
from staged_sets import DATASET, NOON, GoldDatabase

KEY = DATASET.key
FULL = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": [KEY],
    "partial_unexpected_count": 1000,
}


def values(column: Column) -> st.SearchStrategy[Any]:
    """Typed values, most of them in range, some just out of it."""
    if column.enum:
        return st.sampled_from([*column.enum, *column.enum, "other"])
    if column.type is ColumnType.BOOLEAN:
        return st.booleans()
    if column.type is ColumnType.TIMESTAMP:
        earliest = column.earliest or NOON
        return st.sampled_from([NOON, earliest, earliest - timedelta(microseconds=1)])
    if column.type is ColumnType.STRING:
        longest = column.max_length or 10
        return st.sampled_from(["Ada", "Zoë", "x" * longest, "x" * (longest + 1)])
    lowest, highest = int(column.minimum or 0), int(column.maximum or 0)
    room = 10 ** ((column.precision or 9) - (column.scale or 0)) - 1
    return st.sampled_from([lowest - 1, lowest, lowest + 1, highest - 1, highest, min(highest + 1, room)])


ROWS = st.lists(
    st.fixed_dictionaries({one.name: values(one) for one in DATASET.events.columns if one.name != KEY}),
    min_size=60,
    max_size=60,
)


def as_json(row: dict[str, Any]) -> bytes:
    told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
    return json.dumps(told, ensure_ascii=False).encode()


def test_the_stream_and_the_gate_find_the_same_faults(postgres: str) -> None:
    migrate(Secret(postgres), DATASET)
    set_id = GoldDatabase(postgres).stage([])
    table = DATASET.gold["customers"]
    relations = set_relations(DATASET, table.name, set_id, whole=False)
    of_events = {
        check.name: check.columns[0]
        for check in compile_suite(DATASET)[table.name]
        if check.is_about_rows and len(check.columns) == 1 and "mostly" not in check.arguments
        if check.columns[0] in DATASET.events.column_names and check.expectation != NOT_NULL
    }
    suite = ExpectationSuite(
        "columns",
        expectations=[
            to_expectation(check, relations)
            for check in compile_suite(DATASET)[table.name]
            if check.name in of_events
        ],
    )
    source = open_staging(Secret(postgres))
    asset = source.add_table_asset("c", table_name=f"s{set_id}_{table.name}", schema_name="staging")
    definition = asset.add_batch_definition_whole_table("all")
    judge = EventJudge(DATASET.events)
    parser = PlainParser(DATASET.events)

    def by_gate(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
        names = list(DATASET.events.column_names)
        with psycopg.connect(postgres) as connection:
            connection.execute(f"TRUNCATE {relations['batch']}".encode())
            statement = f"COPY {relations['batch']} ({columns(names)}) FROM STDIN"
            with connection.cursor().copy(statement.encode()) as copy:
                for row in rows:
                    copy.write_row([row[name] for name in names])
        faults: dict[str, set[str]] = {row[KEY]: set() for row in rows}
        for one in definition.get_batch().validate(suite, result_format=FULL).results:
            for found in one.result.get("unexpected_index_list") or ():
                faults[found[KEY]].add(of_events[one.expectation_config.meta["check"]])
        return faults

    @settings(
        max_examples=3,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(ROWS)
    def agree(drawn: list[dict[str, Any]]) -> None:
        rows = [{KEY: f"K{number}", **row} for number, row in enumerate(drawn)]
        records = {row[KEY]: as_json(row) for row in rows}
        faults = by_gate(rows)

        judged = {key: judge.judge(value) for key, value in records.items()}
        by_judge = {key: {reason.partition(":")[2] for reason in one.reasons} for key, one in judged.items()}
        _, plain, _ = parser.parse(pa.array(list(records.values()), pa.binary()))

        assert by_judge == faults
        assert set(plain.field(KEY).to_pylist()) == {key for key, fields in faults.items() if not fields}

    agree()
