"""Airflow's own tables are kept within limits by Airflow's own command, from a task that may not use them."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.upkeep.airflow_tables import clean_airflow_tables
from medallion_store.secret import Secret
from services import PostgresServer

NOW = datetime.now(UTC)
NO_ACCESS = "airflow-db-not-allowed:///"
"""What Airflow puts into a task's environment in place of its database."""


def rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM log").fetchall()
    return int(count)


@pytest.mark.full
def test_a_year_of_hourly_rows_becomes_the_days_kept(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = postgres_server.fresh_database()
    connection = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
    driver = dsn.replace("postgresql://", "postgresql+psycopg2://")
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], check=True, env={**os.environ, connection: driver}
    )
    with psycopg.connect(dsn) as database:
        database.execute(
            "INSERT INTO log (dttm, event) SELECT %s::timestamptz - make_interval(hours => h), 'x' "
            "FROM generate_series(1, 365 * 24) AS h",
            [NOW],
        )
    monkeypatch.setenv(connection, NO_ACCESS)
    clean_airflow_tables(Secret(dsn), NOW - timedelta(days=90))
    assert 90 * 24 - 1 <= rows(dsn) <= 90 * 24 + 10, "the command itself is logged there"
    before = rows(dsn)
    clean_airflow_tables(Secret(dsn), NOW - timedelta(days=90))
    assert before <= rows(dsn) <= before + 10


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(ServiceUnavailable, match="MEDALLION_AIRFLOW_DSN") as refused:
        clean_airflow_tables(Secret("postgresql://airflow:geheim@127.0.0.1:1/airflow"), NOW)
    assert "geheim" not in str(refused.value)
