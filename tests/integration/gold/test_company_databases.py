"""Gold is right in a database as companies set it up, or the one line says what is not supported."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from company_databases import TransactionPooler, set_up_unusually, standby
from medallion_contracts.errors import GoldError
from medallion_ops.gate.audit import audit_set
from medallion_ops.gold.publication import publish_set
from medallion_ops.migrations.runner import migrate
from medallion_store import postgres as store
from medallion_store.postgres import gold_connection
from medallion_store.publications import lock_publication
from medallion_store.secret import Secret
from medallion_store.staging_sets import drop_replaced_sets, open_set
from services import PostgresServer
from staged_sets import DATASET, GoldDatabase, version

PEOPLE = [
    version("CAFÉ-1", first_name="José", last_name="Łukasz-Ωmega", email="jose@example.org"),
    version("B", first_name="愛", last_name="O'Back\\slash"),
]


def names(gold: GoldDatabase) -> set[tuple[str, str, str]]:
    with psycopg.connect(gold.dsn, client_encoding="utf8", options="-c statement_timeout=0") as connection:
        connection.read_only = True
        rows = connection.execute("SELECT customer_id, first_name, last_name FROM gold.customers")
        return set(rows.fetchall())


WANTED = {(str(one["customer_id"]), str(one["first_name"]), str(one["last_name"])) for one in PEOPLE}


def publish_audited(dsn: str, set_id: int) -> None:
    verdict = audit_set(Secret(dsn), DATASET, set_id, None)
    assert verdict.failed_critical == ()
    publish_set(Secret(dsn), DATASET, set_id)


@pytest.mark.parametrize("of_role", [False, True], ids=["database", "role"])
def test_settings_of_database_or_role_change_no_byte_and_end_no_statement(
    postgres: str, of_role: bool
) -> None:
    gold = GoldDatabase(postgres)
    migrate(gold.secret, DATASET)
    set_id = gold.stage(PEOPLE)
    set_up_unusually(postgres, of_role=of_role)
    assert migrate(gold.secret, DATASET) == ()
    publish_audited(postgres, set_id)
    assert names(gold) == WANTED


def test_every_session_and_transaction_has_the_pinned_settings(postgres: str) -> None:
    set_up_unusually(postgres)
    wanted = {**store.KEPT_BY_POOLERS, **store._BYTES, **store._LIMITS}
    for autocommit in (False, True):
        with gold_connection(Secret(postgres), autocommit=autocommit) as connection:
            for name, value in wanted.items():
                [(found, same)] = connection.execute(
                    "SELECT current_setting(%(name)s), current_setting(%(name)s) = set_config(%(name)s, "
                    "%(value)s, true)",
                    {"name": name, "value": value},
                ).fetchall()
                assert same, f"{name} is {found}"
            assert connection.execute(
                "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
            ).fetchone() == ("read committed", "off")


def test_a_database_that_cannot_hold_utf8_is_refused_with_the_remedy(postgres: str) -> None:
    name = sql.Identifier("latin_" + postgres.rpartition("_")[2])
    with psycopg.connect(postgres, autocommit=True) as connection:
        for encoding in ("LATIN1", "SQL_ASCII"):
            connection.execute(
                sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE 'C' TEMPLATE template0").format(name, encoding)
            )
            try:
                dsn = f"{postgres.rpartition('/')[0]}/latin_{postgres.rpartition('_')[2]}"
                with pytest.raises(GoldError, match=rf"encoding {encoding}.*ENCODING 'UTF8'"):
                    migrate(Secret(dsn), DATASET)
            finally:
                connection.execute(sql.SQL("DROP DATABASE {}").format(name))


def elsewhere(postgres: str, *places: str) -> str:
    """The same database with other servers named before its own."""
    login, _, rest = postgres.removeprefix("postgresql://").rpartition("@")
    place, _, database = rest.partition("/")
    return f"postgresql://{login}@{','.join([*places, place])}/{database}"


def test_of_several_hosts_the_primary_is_found_by_every_client(postgres: str) -> None:
    gold = GoldDatabase(postgres)
    several = elsewhere(postgres, "127.0.0.1:1", "[::1]:1")
    migrate(Secret(several), DATASET)
    publish_audited(several, gold.stage(PEOPLE))
    assert names(gold) == WANTED


def test_a_standby_is_named_and_where_there_is_a_primary_it_is_found(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    server = standby(tmp_path)
    server.start()
    try:
        for options in ("", "?target_session_attrs=primary", "?target_session_attrs=read-write"):
            with pytest.raises(GoldError, match=r"is a standby.*list all servers .*=primary"):
                migrate(Secret(f"{server.superuser_dsn}{options}"), DATASET)
        logins = [conninfo_to_dict(one.superuser_dsn) for one in (server, postgres_server)]
        passwords = tmp_path / "passwords"
        passwords.touch(mode=0o600)
        passwords.write_text("".join("{host}:{port}:*:{user}:{password}\n".format(**one) for one in logins))
        hosts = ",".join("{host}:{port}".format(**one) for one in logins)
        both = Secret(f"postgresql://postgres@{hosts}/postgres?passfile={passwords}")
        with gold_connection(both) as connection:
            assert str(connection.info.port) == logins[1]["port"]
    finally:
        server.stop()


@pytest.fixture
def pooled(postgres: str, tmp_path: Path) -> Iterator[str]:
    if missing := TransactionPooler.missing():
        pytest.skip(missing)
    pooler = TransactionPooler(tmp_path / "pooler", postgres)
    try:
        pooler.start()
        yield pooler.dsn
    finally:
        pooler.stop()


def test_behind_a_pooler_in_transaction_mode_gold_is_published_whole(postgres: str, pooled: str) -> None:
    gold = GoldDatabase(postgres)
    assert migrate(Secret(pooled), DATASET)
    set_id = gold.stage(PEOPLE)
    set_up_unusually(postgres)
    assert migrate(Secret(pooled), DATASET) == ()
    publish_audited(pooled, set_id)
    assert names(gold) == WANTED


def test_a_pooled_session_is_left_as_it_was(postgres: str, pooled: str) -> None:
    migrate(Secret(pooled), DATASET)

    def settings() -> set[Any]:
        found = set()
        for _ in range(6):
            with psycopg.connect(pooled, prepare_threshold=None) as stranger:
                found.add(
                    stranger.execute(
                        "SELECT current_setting('search_path'), current_setting('lock_timeout'), "
                        "current_setting('statement_timeout'), current_setting('timezone')"
                    ).fetchone()
                )
        return found

    with psycopg.connect(postgres) as connection:
        usual = connection.execute(
            "SELECT current_setting('search_path'), '0', '0', current_setting('timezone')"
        ).fetchone()
    assert settings() == {usual}


def test_a_set_under_way_is_known_by_its_lock_also_behind_a_pooler(postgres: str, pooled: str) -> None:
    migrate(Secret(postgres), DATASET)
    with gold_connection(Secret(pooled), autocommit=True) as connection:
        with open_set(connection, DATASET, Secret(pooled)) as under_way:
            assert drop_replaced_sets(connection, DATASET, under_way + 1) == []
        assert drop_replaced_sets(connection, DATASET, under_way + 1) == [under_way]


def test_who_does_nothing_within_a_transaction_loses_the_lock_of_gold(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(Secret(postgres), DATASET)
    monkeypatch.setitem(store._LIMITS, "idle_in_transaction_session_timeout", "100ms")

    def hang() -> None:
        with gold_connection(Secret(postgres)) as hanging:
            lock_publication(hanging, DATASET.name)
            time.sleep(0.5)
            with psycopg.connect(postgres) as other:
                lock_publication(other, DATASET.name)
            hanging.execute("SELECT 1")

    with pytest.raises(GoldError, match=r"did nothing for .* its locks were released: run again"):
        hang()


def test_a_set_may_be_written_for_longer_than_a_transaction_may_do_nothing(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(Secret(postgres), DATASET)
    monkeypatch.setitem(store._LIMITS, "idle_in_transaction_session_timeout", "100ms")
    with (
        gold_connection(Secret(postgres), autocommit=True) as connection,
        open_set(connection, DATASET, Secret(postgres)) as under_way,
    ):
        time.sleep(0.5)
        assert drop_replaced_sets(connection, DATASET, under_way + 1) == []
