"""A field that is added to the contract of a running platform: old rows and old gold get it, nothing differs.

Old lake and old gold, the new contract, a full refresh, two increments, old records sent again, a rebuild
as-judged and one that judges again: gold equals gold from scratch, and no verdict changes.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from gold_runs import GoldRuns
from kafka_log import TestLake, event, log_of
from medallion_contracts import loader
from medallion_contracts.compile.postgres import columns
from medallion_contracts.model import Dataset
from medallion_ops.gold.publication import Outcome
from medallion_ops.migrations.runner import migrate
from medallion_spark.gold import customers
from medallion_store.refresh_plan import RefreshKind
from medallion_store.secret import Secret
from new_fields import NewField, new_field, new_fields, write_contracts
from rebuilds import rebuild
from services import PostgresServer

OLD = [event("c1", 0), event("c2", 1, tenure=40, total_charges=...), event("c1", 5, tenure=4, email=...)]


@contextmanager
def contracts(folder: Path) -> Iterator[Dataset]:
    """Everything in this process runs by the contracts in the folder."""

    def load_again() -> None:
        loader.load_dataset.cache_clear()
        importlib.reload(customers)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loader, "contract_folders", lambda: {"customers": folder})
            load_again()
            yield loader.load_dataset("customers")
    finally:
        load_again()


class Platform:
    """A lake and a gold database, taken through versions of the contracts."""

    def __init__(self, spark: SparkSession, dsn: str, lake: Path, dataset: Dataset) -> None:
        self.dsn, self.folder, self.dataset = dsn, lake, dataset
        self.lake = TestLake(spark, lake, dataset)
        self.offset = 0
        migrate(Secret(dsn), dataset)

    def roll_out(self, dataset: Dataset) -> None:
        """A new driver, and gold brought forward."""
        self.dataset, batch = dataset, self.lake.next_batch
        self.lake = TestLake(self.lake.spark, self.folder, dataset)
        self.lake.next_batch = batch
        migrate(Secret(self.dsn), dataset)

    def send(self, events: Sequence[dict[str, Any]]) -> list[str]:
        """One micro-batch; gives its verdicts, with their reasons."""
        records = log_of(events, first_offset=self.offset)
        self.offset += len(events)
        self.lake.send(records)
        found = self.lake.verdicts()
        return [":".join((found[one.coordinates][0], *found[one.coordinates][1])) for one in records]

    def run(self) -> tuple[RefreshKind, str, Outcome]:
        """One run of the gold DAG as if the gate had passed it."""
        runs = GoldRuns(self.lake.spark, self.dsn, self.folder, self.dataset)
        report = runs.write()
        return report.kind, report.reason, runs.publish(report)

    def gold(self, table: str, *names: str) -> list[tuple[Any, ...]]:
        """Columns of a gold table by its key."""
        order = columns(self.dataset.gold[table].primary_key)
        query = f"SELECT {columns(names)} FROM gold.{table} ORDER BY {order}"
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query.encode()).fetchall()


def check_new_fields(
    spark: SparkSession, dsn: str, folder: Path, fields: Sequence[NewField], chance: random.Random
) -> None:
    """Take a platform from the contracts of today to those with the fields."""
    names = {field.name for field in fields}

    def without(customer: str, minute: int) -> dict[str, Any]:
        """As a producer sends it that does not know the fields."""
        return {name: value for name, value in event(customer, minute).items() if name not in names}

    def sent() -> dict[str, Any]:
        return {field.name: chance.choice(field.values) for field in fields if chance.random() < 0.7}

    with contracts(write_contracts(folder / "old", [])) as dataset:
        platform = Platform(spark, dsn, folder / "lake", dataset)
        assert platform.send(OLD) == ["silver"] * len(OLD)
        assert platform.run()[0] is RefreshKind.FULL
    with contracts(write_contracts(folder / "new", fields)) as dataset:
        platform.roll_out(dataset)
        kind, reason, _ = platform.run()
        assert (kind, reason) == (RefreshKind.FULL, "the contracts of gold changed")
        migrate(Secret(dsn), dataset)  # what may not be null is full by now

        new = [{**without("c1", 7), **sent()}, {**without("c3", 8), **sent()}, without("c2", 9)]
        assert platform.send(new) == ["silver"] * len(new)
        kind, reason, _ = platform.run()
        assert kind is RefreshKind.INCREMENT, reason
        again = [*OLD, new[0], without("c4", 10)]
        assert platform.send(again) == ["duplicate"] * (len(OLD) + 1) + ["silver"]
        kind, reason, _ = platform.run()
        assert kind is RefreshKind.INCREMENT, reason

        for mode in ("as-judged", "judge-again"):
            rebuilt = rebuild(platform.lake, mode, dataset, run_id=mode)
            assert rebuilt.silver_differences.are_none, mode
            assert rebuilt.quarantine_differences.are_none, mode
            assert rebuilt.verdict_changes == [], mode
        history = platform.gold("customer_history", *dataset.gold["customer_history"].column_names)
        kind, reason, outcome = platform.run()
        assert kind is RefreshKind.FULL
        assert "silver was rewritten by WRITE" in reason
        assert outcome.changed == 0, outcome.rows
        assert platform.gold("customer_history", *dataset.gold["customer_history"].column_names) == history

        filled = [field.name for field in fields if dataset.events.column(field.name).always_has_value]
        told = dict(platform.gold("customers", "customer_id", "defaulted_fields"))
        assert set(told["c4"]) == set(filled)


def test_fields_added_to_a_running_platform_differ_nowhere(
    spark: SparkSession, postgres: str, secrets_file: Path, tmp_path: Path
) -> None:
    secrets_file.write_text(f"MEDALLION_GOLD_DSN={postgres}\n")
    fields = [
        new_field(f"{kind}_{filling}", kind, filling)
        for kind, filling in (
            ("text", "default"),
            ("choice", "nullable"),
            ("whole", "derived"),
            ("long", "nullable"),
            ("amount", "derived"),
            ("flag", "default"),
            ("time", "nullable"),
        )
    ]
    check_new_fields(spark, postgres, tmp_path, fields, random.Random(3))


@pytest.mark.full
def test_any_fields_added_to_a_running_platform_differ_nowhere(
    spark: SparkSession,
    postgres_server: PostgresServer,
    secrets_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(fields=new_fields(), seed=st.integers(0, 2**32))
    def check(fields: list[NewField], seed: int) -> None:
        dsn = postgres_server.fresh_database()
        secrets_file.write_text(f"MEDALLION_GOLD_DSN={dsn}\n")
        check_new_fields(spark, dsn, tmp_path_factory.mktemp("platform"), fields, random.Random(seed))

    check()
