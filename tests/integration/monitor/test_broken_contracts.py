"""A dataset whose contracts are not valid is an incident of its own; the others are watched as ever."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from medallion_contracts import loader
from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.migrations.runner import migrate
from medallion_ops.monitor import look
from medallion_ops.page import views
from medallion_ops.settings import Settings
from medallion_store.secret import Secret


@pytest.fixture
def settings(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    environment = {
        "MEDALLION_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "MEDALLION_LAKE_URI": str(tmp_path / "lake"),
        "MEDALLION_SPARK_MASTER": "spark://127.0.0.1:1",
        "MEDALLION_SPARK_REST": "http://127.0.0.1:1",
        "MEDALLION_SPARK_JARS": "/jars",
        "MEDALLION_JOBS_DIR": "/jobs",
        "MEDALLION_SECRETS_FILE": "/secrets",
        "MEDALLION_GOLD_DSN": postgres,
        "MEDALLION_ALERT_TO": "data@example.com",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings.from_environment()


def _unreachable(*_: object, **__: object) -> SimpleNamespace:
    raise ServiceUnavailable("not here")


def test_the_monitor_and_the_page_go_on_with_the_other_datasets(
    settings: Settings, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in loader.dataset_names():
        migrate(Secret(postgres), loader.load_dataset(name))
    broken = tmp_path / "orders"
    broken.mkdir()
    (broken / "events.odcs.yaml").write_text("schema: []")
    known = loader.contract_folders()
    monkeypatch.setattr(loader, "contract_folders", lambda: {**known, "orders": broken})
    for service in ("backlog", "airflow_view", "send_waiting"):
        monkeypatch.setattr(
            look, service, _unreachable if service != "send_waiting" else lambda *_, **__: None
        )
    found = look.look(settings)
    assert "the contracts of orders" in {one.subject for one in found}
    with psycopg.connect(postgres) as connection:
        watched = connection.execute("SELECT DISTINCT dataset FROM audit.monitor_samples").fetchall()
    assert {name for (name,) in watched} == set(known)
    assert views._levels("orders").is_empty
    assert not views._levels("customers").is_empty
