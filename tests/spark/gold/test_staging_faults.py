"""A set is whole or does not count, whatever happens while it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import psycopg
import pyarrow as pa
import pytest
from pyspark.errors import PySparkException

from gold_model import DATASET, gold_of, version
from gold_runs import GoldRuns
from medallion_contracts.compile.postgres import staged_columns
from medallion_contracts.errors import GoldError, ServiceUnavailable
from medallion_spark.gold import copy, staging
from medallion_spark.session.secrets import gold_dsn
from medallion_store.postgres import gold_connection
from medallion_store.staging_sets import drop_replaced_sets, open_set

CUSTOMERS = DATASET.gold["customers"]
STAGED = staged_columns(DATASET, CUSTOMERS)
KEYS = (CUSTOMERS.column("customer_id"),)


def writer() -> AbstractContextManager[psycopg.Connection]:
    return gold_connection(gold_dsn(), autocommit=True)


def rows_of(runs: GoldRuns, set_id: int, name: str) -> int:
    return int(runs.query(f"SELECT count(*) FROM staging.s{set_id}_{name}")[0][0])


def test_a_task_that_runs_twice_leaves_its_rows_once(runs: GoldRuns) -> None:
    keys = runs.spark.range(0, 100, 1, 4).selectExpr("cast(id AS string) AS customer_id")
    with writer() as connected, open_set(connected, DATASET, gold_dsn()) as set_id:
        first = copy.copy_in(keys, set_id, "_touched", KEYS)
        # The driver lost the answer of the first attempt, or a speculative twin came second.
        again = copy.copy_in(keys, set_id, "_touched", KEYS)
    assert (first, again) == (100, 100)
    assert rows_of(runs, set_id, "_touched") == 100


def test_a_task_that_dies_half_way_leaves_nothing(runs: GoldRuns) -> None:
    def dies(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield next(iter(batches))
        raise OSError("the disk went away")

    keys = runs.spark.range(0, 50_000, 1, 1).selectExpr("cast(id AS string) AS customer_id")
    dying = keys.mapInArrow(dies, keys.schema)
    with writer() as connected, open_set(connected, DATASET, gold_dsn()) as set_id:
        with pytest.raises(PySparkException, match="the disk went away"):
            copy.copy_in(dying, set_id, "_touched", KEYS)
        assert rows_of(runs, set_id, "_touched") == 0
        assert copy.copy_in(keys, set_id, "_touched", KEYS) == 50_000
    assert rows_of(runs, set_id, "_touched") == 50_000


def test_what_postgres_refuses_in_a_task_is_told_without_the_row(
    runs: GoldRuns, capfd: pytest.CaptureFixture[str]
) -> None:
    runs.append([version("a", first_name="marked-secret")])
    runs.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no more' "
        "USING DETAIL = 'Failing row contains marked-secret'; END $$"
    )
    runs.query("CREATE TRIGGER full_disk BEFORE UPDATE ON staging.copies EXECUTE FUNCTION refuse()")
    with pytest.raises(GoldError, match=r"gold is unchanged: Postgres at .* refused: no more"):
        runs.write()
    assert "marked-secret" not in "".join(capfd.readouterr())
    assert runs.query("SELECT count(*) FROM staging.manifests") == [(0,)]


def test_rows_that_vanish_while_the_set_is_written_are_noticed(runs: GoldRuns) -> None:
    with (
        writer() as connected,
        open_set(connected, DATASET, gold_dsn()) as set_id,
        pytest.raises(GoldError, match=r"holds 0 rows, but Spark copied 7.*run again"),
    ):
        staging.measure(connected, set_id, {"customers": 7})


def test_a_set_without_a_manifest_does_not_count_and_is_cleaned_up(runs: GoldRuns) -> None:
    versions = [version("a")]
    runs.append(versions)
    with writer() as connected, open_set(connected, DATASET, gold_dsn()) as died:
        # And then the driver was killed, while it took labels over.
        connected.execute(f"CREATE UNLOGGED TABLE staging.s{died}_{staging.LABELS} (key text)".encode())
    runs.run()
    assert runs.gold() == gold_of(versions)
    assert runs.query("SELECT relname FROM pg_class WHERE relname LIKE %s", [f"s{died}\\_%"]) == []


def test_clean_up_spares_what_is_written_or_waits_for_a_person(runs: GoldRuns) -> None:
    def exists(set_id: int) -> bool:
        return runs.query(f"SELECT to_regclass('staging.s{set_id}_customers') IS NOT NULL") == [(True,)]

    def complete(set_id: int) -> None:
        runs.query(
            "INSERT INTO staging.manifests (set_id, dataset, run_id, kind, silver_table_id, to_version, "
            "tables, contract_hash) VALUES (%s, 'customers', 'run', 'rebuild', 'silver', 0, '{}', '')",
            [set_id],
        )

    with writer() as other, writer() as connected:
        ids = []
        for _ in range(3):
            with open_set(connected, DATASET, gold_dsn()) as set_id:
                complete(set_id)
                ids.append(set_id)
        older, blocked, newest = ids
        with open_set(other, DATASET, gold_dsn()) as under_way:
            assert drop_replaced_sets(connected, DATASET, newest) == [older]
            assert exists(under_way)
        assert exists(blocked)
        assert exists(newest)
        with psycopg.connect(runs.dsn) as reader:
            reader.execute(f"SELECT count(*) FROM staging.s{under_way}_customers")
            assert drop_replaced_sets(connected, DATASET, newest) == [], "somebody is reading it"
        assert drop_replaced_sets(connected, DATASET, newest) == [under_way]


def test_errors_of_postgres_name_the_server_and_the_remedy_and_no_password(
    runs: GoldRuns, secrets_file: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dsn(text: str) -> None:
        monkeypatch.setattr("medallion_spark.session.secrets.required_secret", lambda _: text)

    dsn("postgresql://writer:marked-secret@127.0.0.1:1/gold")
    with (
        pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:1/gold does not answer") as refused,
        gold_connection(gold_dsn()),
    ):
        pass
    assert "marked-secret" not in str(refused.value)
    dsn(runs.dsn)
    with (
        pytest.raises(GoldError, match=r"medallion_ops\.migrations"),
        gold_connection(gold_dsn()) as connected,
    ):
        connected.execute("SELECT * FROM gold.absent")


def test_silver_that_does_not_exist_is_named(runs: GoldRuns) -> None:
    with pytest.raises(GoldError, match="no silver table"):
        replace(runs, lake=runs.lake / "elsewhere").write()
