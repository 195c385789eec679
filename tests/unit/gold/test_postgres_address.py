"""Addresses of gold are libpq's to parse; a login is in no text, whatever characters it has."""

from __future__ import annotations

import traceback

import pytest

from medallion_contracts.errors import ServiceUnavailable, SettingsError
from medallion_store.postgres import gold_connection
from medallion_store.postgres_address import address, libpq_environment, parse_dsn
from medallion_store.secret import Secret


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://w:marked@db:5433/gold", "db:5433/gold"),
        ("postgresql://w:marked@db/gold?sslmode=require", "db:5432/gold"),
        ("postgresql://w:marked@h1:5432,h2:5433/gold", "h1:5432,h2:5433/gold"),
        ("postgresql://w:marked@/gold?host=a,b&port=5433", "a:5433,b:5433/gold"),
        ("postgresql://w:marked@h1,h2/gold?target_session_attrs=primary", "h1:5432,h2:5432/gold"),
        ("postgresql://w:marked@[2001:db8::1]:5433/gold", "[2001:db8::1]:5433/gold"),
        ("postgresql://w:marked@/gold?host=/var/run/postgresql", "/var/run/postgresql:5432/gold"),
        ("postgresql://w:mar?ked@db/gold", "db:5432/gold"),
        ("postgresql://w@db/gold?password=marked", "db:5432/gold"),
        ("host=db user=w password='marked x' dbname=gold", "db:5432/gold"),
        ("hostaddr=10.0.0.1 port=6432 password=marked dbname=gold", "10.0.0.1:6432/gold"),
    ],
)
def test_every_spelling_is_shown_by_hosts_ports_and_database(
    dsn: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGPORT", "PGHOSTADDR"):
        monkeypatch.delenv(name, raising=False)
    assert address(Secret(dsn)) == shown


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://w:mar@ked@db/gold",
        "postgresql://w:mar/ked@db/gold",
        "postgresql://w:mar:ked/@db/gold",
        "postgresql://w:%ZZmarked@db/gold",
        "postgresql://w:marked@db:port/gold",
        "host=db dbname=gold password=marked ked",
        "mysql://w:marked@db/gold",
        "postgresql://w:marked@db",
        "marked",
        "",
    ],
)
def test_what_libpq_cannot_take_apart_is_refused_and_not_repeated(dsn: str) -> None:
    with pytest.raises(ValueError, match="must") as refused:
        parse_dsn(dsn)
    assert "mar" not in str(refused.value).replace("must", "")
    with pytest.raises(SettingsError, match="MEDALLION_GOLD_DSN") as named:
        address(Secret(dsn))
    told = "".join(traceback.format_exception(named.value))
    assert "marked" not in told
    assert "ked@" not in told


def test_no_password_is_in_the_traceback_of_a_database_that_does_not_answer() -> None:
    dsn = Secret("postgresql://w:marked@127.0.0.1:1,[::1]:1/gold?connect_timeout=2")
    with (
        pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:1,\[::1\]:1/gold does not answer") as failed,
        gold_connection(dsn),
    ):
        pass
    told = "".join(traceback.TracebackException.from_exception(failed.value, capture_locals=True).format())
    assert "marked" not in told


def test_psql_gets_the_address_by_its_environment() -> None:
    given = libpq_environment(Secret("postgresql://w:p%40ss@h1:1,h2:2/gold?sslmode=require"))
    assert given == {
        "PGUSER": "w",
        "PGPASSWORD": "p@ss",
        "PGHOST": "h1,h2",
        "PGPORT": "1,2",
        "PGDATABASE": "gold",
        "PGSSLMODE": "require",
        "PGCLIENTENCODING": "UTF8",
    }
