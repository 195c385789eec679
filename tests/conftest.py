"""Fixtures of real services, shared by all tests that ask for them; nothing starts for tests that do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from services import AzuriteServer, BrokerServer, Mail, MailServer, PostgresServer


class FolderScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests of one folder share servers and sessions: of several processes, one takes them all.

    Those of `fault` start what they kill themselves, so a process takes a file of them at a time.
    """

    def _split_scope(self, nodeid: str) -> str:
        folder = nodeid.split("/")[1]
        return nodeid.split("::")[0] if folder == "fault" else folder


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FolderScheduling:
    """How `--numprocesses` deals out the tests."""
    return FolderScheduling(config, log)


@pytest.fixture(scope="session")
def broker_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """One broker for the whole run; a test that kills it starts it again."""
    # Topics that are compacted are so within a second, not after 15.
    server = BrokerServer(tmp_path_factory.mktemp("broker"), {"log.cleaner.backoff.ms": "500"})
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[BrokerServer]:
    """A broker with empty topics that a test may kill."""
    server = BrokerServer(tmp_path / "broker")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def broker(broker_server: BrokerServer) -> str:
    """Bootstrap address of the broker; it has the topics `customers` and `customers_replay`."""
    return broker_server.bootstrap


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One PostgreSQL server for the whole run; a test that kills it starts it again."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> str:
    """Superuser DSN of a fresh, empty database."""
    return postgres_server.fresh_database()


@pytest.fixture(scope="session")
def migrated_gold(postgres_server: PostgresServer) -> str:
    """Superuser DSN of one migrated gold database, for all tests that take it as `empty_gold`."""
    from medallion_contracts.loader import load_dataset
    from medallion_ops.migrations.runner import migrate
    from medallion_store.secret import Secret

    dsn = postgres_server.fresh_database()
    migrate(Secret(dsn), load_dataset("customers"))
    return dsn


@pytest.fixture
def empty_gold(migrated_gold: str) -> str:
    """Superuser DSN of a migrated gold database without rows; no test may change its tables."""
    import psycopg

    with psycopg.connect(migrated_gold) as connection:
        [(tables,)] = connection.execute(
            "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables "
            "WHERE schemaname IN ('audit', 'gold', 'staging') AND tablename <> 'migrations'"
        ).fetchall()
        connection.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE".encode())
    return migrated_gold


@pytest.fixture(scope="session")
def mail_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    """One mail sink for the whole run."""
    server = MailServer(tmp_path_factory.mktemp("mail"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def mail_sink(mail_server: MailServer) -> Mail:
    """Host, port and Maildir of the mail sink, empty at the start of the test."""
    for folder in ("new", "cur"):
        for mail in (mail_server.mail.maildir / folder).glob("*"):
            mail.unlink()
    return mail_server.mail


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteServer]:
    """One emulated Azure storage account for the whole run, with an empty container `lake`."""
    if missing := AzuriteServer.install():
        pytest.skip(missing)
    server = AzuriteServer(tmp_path_factory.mktemp("azurite"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
