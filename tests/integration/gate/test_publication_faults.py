"""Publishing while others read, publish too, or the server dies: gold is the old state or the new one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest

from medallion_contracts.errors import GoldError, ServiceUnavailable, StaleStaging
from medallion_ops.gold.publication import Outcome, is_stale, publish_set
from medallion_store.postgres import gold_connection
from medallion_store.secret import Secret
from services import PostgresServer
from staged_sets import DATASET, GoldDatabase, version

from .test_publication import give_verdict, publish


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@contextlib.contextmanager
def row_held(gold: GoldDatabase, customer_id: str) -> Iterator[None]:
    """Somebody keeps a row of gold.customers, so that a publication that changes it waits in its middle."""
    with psycopg.connect(gold.dsn) as holder:
        holder.execute("SELECT FROM gold.customers WHERE customer_id = %s FOR UPDATE", [customer_id])
        yield


def wait_until_it_waits(gold: GoldDatabase) -> None:
    """Until the publication stands at the row that is held."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        waiting = gold.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock' AND query LIKE 'UPDATE \"gold\".\"customers\"%'"
        )
        if waiting:
            return
        time.sleep(0.05)
    pytest.fail("the publication never reached the row")


def start_publication(gold: GoldDatabase, set_id: int, pool: ThreadPoolExecutor) -> Future[Outcome]:
    give_verdict(gold, set_id)
    return pool.submit(publish_set, gold.secret, DATASET, set_id)


def state(gold: GoldDatabase) -> list[list[tuple[object, ...]]]:
    return [gold.gold(table) for table in DATASET.gold]


def test_readers_see_the_old_state_until_the_commit_and_never_wait(
    gold: GoldDatabase, pool: ThreadPoolExecutor
) -> None:
    publish(gold, gold.stage([version("A")]))
    old = state(gold)

    with row_held(gold, "A"):
        running = start_publication(gold, gold.stage([version("A"), version("A", 1, tenure=11)]), pool)
        wait_until_it_waits(gold)
        gold.query("ALTER ROLE CURRENT_USER SET statement_timeout = '5s'")
        try:
            assert state(gold) == old
        finally:
            gold.query("ALTER ROLE CURRENT_USER RESET statement_timeout")

    assert running.result(30).is_new
    assert state(gold) != old


def test_the_same_set_published_twice_at_once_is_published_once(
    gold: GoldDatabase, pool: ThreadPoolExecutor
) -> None:
    set_id = gold.stage([version("A")])

    outcomes = [start_publication(gold, set_id, pool), start_publication(gold, set_id, pool)]

    assert sorted(outcome.result(30).is_new for outcome in outcomes) == [False, True]
    assert gold.value("SELECT count(*) FROM gold.publications") == 1


def test_of_two_sets_against_the_same_publication_one_is_refused(
    gold: GoldDatabase, pool: ThreadPoolExecutor
) -> None:
    sets = [gold.stage([version("A")]), gold.stage([version("B")])]

    errors = [start_publication(gold, set_id, pool).exception(30) for set_id in sets]

    assert [type(error) for error in errors if error] == [StaleStaging]
    assert gold.value("SELECT count(*) FROM gold.customers") == 1


def test_postgres_killed_in_the_transaction(
    gold: GoldDatabase, pool: ThreadPoolExecutor, postgres_server: PostgresServer
) -> None:
    publish(gold, gold.stage([version("A")]))
    old = state(gold)
    versions = [version("A"), version("A", 1, tenure=11)]
    set_id = gold.stage(versions)

    # The holder's connection dies with the server too.
    with contextlib.suppress(psycopg.OperationalError), row_held(gold, "A"):
        running = start_publication(gold, set_id, pool)
        wait_until_it_waits(gold)
        postgres_server.kill()
    assert isinstance(running.exception(30), ServiceUnavailable)
    postgres_server.start()

    assert state(gold) == old
    with pytest.raises(StaleStaging, match="write again"):
        publish_set(gold.secret, DATASET, set_id)
    assert publish(gold, gold.stage(versions)).is_new
    assert gold.query("SELECT tenure FROM gold.customers") == [(11,)]


PUBLISHER = """
import os, sys
from medallion_contracts.loader import load_dataset
from medallion_ops.gold.publication import publish_set
from medallion_store.secret import Secret
publish_set(Secret(os.environ["MEDALLION_GOLD_DSN"]), load_dataset("customers"), int(sys.argv[1]))
"""


def test_the_publishing_task_killed_before_and_in_the_transaction(gold: GoldDatabase) -> None:
    publish(gold, gold.stage([version("A")]))
    old = state(gold)
    set_id = gold.stage([version("A"), version("A", 1, tenure=11)])
    give_verdict(gold, set_id)  # audited: a task that dies here has done nothing yet
    assert state(gold) == old

    with row_held(gold, "A"):
        environment = {
            **os.environ,
            "MEDALLION_GOLD_DSN": gold.dsn,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        task = subprocess.Popen([sys.executable, "-c", PUBLISHER, str(set_id)], env=environment)
        wait_until_it_waits(gold)
        task.kill()
        task.wait()
        assert state(gold) == old

    assert publish_set(gold.secret, DATASET, set_id).is_new, "the retry publishes the same set"
    assert gold.query("SELECT tenure FROM gold.customers") == [(11,)]
    assert gold.value("SELECT count(*) FROM gold.publications") == 2


def test_a_set_written_by_the_contracts_of_yesterday_is_written_again(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("A")])
    give_verdict(gold, set_id)
    gold.query("UPDATE staging.manifests SET contract_hash = 'that of yesterday'")

    with pytest.raises(StaleStaging, match=r"other contracts than those of today: write again"):
        publish_set(gold.secret, DATASET, set_id)
    assert is_stale(gold.secret, DATASET, set_id)


def test_what_postgres_refuses_is_told_without_the_row(gold: GoldDatabase) -> None:
    statement = "INSERT INTO gold.customers (customer_id, first_name) VALUES ('c', 'marked-secret')"
    with pytest.raises(GoldError, match="null value") as raised, gold_connection(gold.secret) as connection:
        connection.execute(statement)
    assert "marked-secret" not in "".join(traceback.format_exception(raised.value))


def test_an_unreachable_server_is_named_with_its_setting(gold: GoldDatabase) -> None:
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:1/gold .*MEDALLION_GOLD_DSN") as raised:
        publish_set(Secret("postgresql://someone:hidden-word@127.0.0.1:1/gold"), DATASET, 1)

    assert "hidden-word" not in str(raised.value)


def test_a_wrong_password_is_named_without_showing_it(gold: GoldDatabase) -> None:
    host = gold.dsn.rpartition("@")[2]
    with pytest.raises(ServiceUnavailable, match="refused the login") as raised:
        publish_set(Secret(f"postgresql://postgres:hidden-word@{host}"), DATASET, 1)

    assert "hidden-word" not in str(raised.value)


def test_a_missing_grant_is_named_and_a_read_only_default_is_no_obstacle(
    gold: GoldDatabase, postgres_server: PostgresServer
) -> None:
    set_id = gold.stage([version("A")])
    give_verdict(gold, set_id)
    database = gold.value("SELECT current_database()")
    gold.query("DROP ROLE IF EXISTS stranger")
    gold.query("CREATE ROLE stranger LOGIN PASSWORD 'p'")
    try:
        with pytest.raises(GoldError, match="a grant is missing"):
            publish_set(Secret(postgres_server.dsn(database, "stranger", "p")), DATASET, set_id)
    finally:
        gold.query("DROP ROLE stranger")
    read_only = Secret(f"{gold.dsn}?options=-cdefault_transaction_read_only%3Don")
    publish_set(read_only, DATASET, set_id)
    assert gold.value("SELECT count(*) FROM gold.customers") == 1
