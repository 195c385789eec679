"""The page's app behind Airflow's own login, over a real Postgres."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

# Airflow reads them when it is first imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] = "False"
os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = "admin:admin,operator:op,viewer:viewer"
os.environ["AIRFLOW__API_AUTH__JWT_SECRET"] = "for-tests-only-" * 5
TOKEN = "prometheus-5ecret"

Client = Callable[..., "TestClient"]


@pytest.fixture(scope="session")
def auth_manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Airflow's SimpleAuthManager with tokens it signed, and the one table it asks."""
    folder = tmp_path_factory.mktemp("airflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(folder / "passwords.json"))
        from airflow import settings as airflow_settings
        from airflow.api_fastapi.app import init_auth_manager
        from airflow.models.revoked_token import RevokedToken

        with pytest.MonkeyPatch.context() as database:
            database.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{folder}/airflow.db")
            settings: Any = airflow_settings  # without types
            settings.configure_vars()
            settings.configure_orm(disable_connection_pool=True)
        RevokedToken.__table__.create(bind=settings.engine)
        yield init_auth_manager()


@pytest.fixture
def gold(empty_gold: str) -> str:
    """The gold database, empty."""
    return empty_gold


@pytest.fixture
def execute(gold: str) -> Callable[..., list[Any]]:
    """Runs a statement in gold, committed; gives its rows."""

    def run(statement: str, values: Any = None) -> list[Any]:
        with psycopg.connect(gold) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def metrics_token() -> str:
    """The token that `client` has set."""
    return TOKEN


@pytest.fixture
def client(auth_manager: Any, gold: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of the page, logged in by cookie with a role; None for no login, "" for no role at all."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from medallion_ops.gate.docs_location import PAGE_PREFIX
    from medallion_plugin import PageApp

    (tmp_path / "docs").mkdir()
    monkeypatch.setenv("MEDALLION_GOLD_DSN", gold)
    monkeypatch.setenv("MEDALLION_DATA_DOCS_DIR", str(tmp_path / "docs"))
    monkeypatch.setenv("MEDALLION_METRICS_TOKEN", TOKEN)
    root = FastAPI()
    root.mount(PAGE_PREFIX, PageApp())

    def logged_in(role: str | None, *, bearer: bool = False) -> TestClient:
        found = TestClient(root, base_url=f"http://airflow.example{PAGE_PREFIX}/", follow_redirects=False)
        if role is not None:
            user = SimpleAuthManagerUser(username=f"the-{role}", role=role or None)
            token = auth_manager.generate_jwt(user)
            if bearer:
                found.headers["Authorization"] = f"Bearer {token}"
            else:
                found.cookies.set("_token", token)
        return found

    return logged_in
