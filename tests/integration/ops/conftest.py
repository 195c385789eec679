"""A Spark cluster for the tests of this folder, and settings that point to it."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services import SparkServers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkServers]:
    """One master and one worker; a test that kills the worker starts it again."""
    running = SparkServers(tmp_path_factory.mktemp("spark"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def jobs(servers: SparkServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of entry scripts, for a test to fill; settings name it, the cluster and a lake folder."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    with zipfile.ZipFile(folder / "medallion.zip", "w") as archive:
        archive.writestr("medallion_stand_in/__init__.py", "")
    environment = {
        "KAFKA_BOOTSTRAP": "127.0.0.1:9",
        "LAKE_URI": str(tmp_path / "lake"),
        "SPARK_MASTER": servers.cluster.master_url,
        "SPARK_REST": servers.cluster.rest_url,
        "SPARK_JARS": str(folder),
        "JOBS_DIR": str(folder),
        "SPARK_PYTHON": sys.executable,
        "SECRETS_FILE": str(servers.cluster.secrets_file),
        "GOLD_DSN": "postgresql://writer@127.0.0.1:9/gold",
        "ALERT_TO": "data@example.com",
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"MEDALLION_{name}", value)
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", servers.cluster.master_url)
    return folder
