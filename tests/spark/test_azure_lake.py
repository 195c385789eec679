"""The stream's micro-batches in an Azure lake: Azurite's blob service, spoken to by Spark and by delta-rs."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from kafka_log import TestLake, event, log_of
from medallion_contracts.loader import load_dataset
from medallion_spark.session.lake_access import LakeAccess, log_in
from medallion_spark.stream.table_writes import TableWrites
from services import AzuriteServer


class _Died(Exception):
    """Stands for the end of the driver."""


@pytest.fixture
def azure_lake(spark: SparkSession, azurite: AzuriteServer, secrets_file: Path) -> TestLake:
    secrets_file.write_text(f"MEDALLION_LAKE_ACCOUNT_KEY={azurite.KEY}\n")
    access = LakeAccess(f"{azurite.URI}/stream", auth="shared_key", endpoint=azurite.endpoint)
    log_in(spark, access)
    return TestLake(spark, access, load_dataset("customers"))


def test_batches_are_written_completed_after_a_crash_and_read_by_spark(
    azure_lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, append = azure_lake, TableWrites._append
    lake.send(log_of([event("c1", 20), event("c2", 25), b"{"]))

    def dying(self: TableWrites, part: object, *rest: object) -> object:
        if part.name == "silver":  # type: ignore[attr-defined]
            raise _Died
        return append(self, part, *rest)  # type: ignore[arg-type]

    second = log_of([event("c1", 20), event("c3", 26)], first_offset=3)
    with monkeypatch.context() as patch:
        patch.setattr(TableWrites, "_append", dying)
        with pytest.raises(_Died):
            lake.send(second)
    lake.restart()
    row = lake.send(second, batch_id=1)
    assert row is not None
    assert (row.is_derived, row.silver, row.duplicate) == (True, 1, 1)
    lake.check()
    silver = lake.spark.read.format("delta").load(lake.paths.silver)
    assert {found["customer_id"] for found in silver.collect()} == {"c1", "c2", "c3"}


def test_what_goes_to_the_tasks_holds_no_secret(azure_lake: TestLake, azurite: AzuriteServer) -> None:
    assert azurite.KEY.encode() not in pickle.dumps(azure_lake.tables.silver.layout)
