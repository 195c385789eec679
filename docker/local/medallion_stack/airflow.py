"""Airflow: API server, scheduler, DAG processor and triggerer as processes of their own."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from medallion_contracts.errors import ServiceUnavailable
from medallion_stack.environment import base_environment
from medallion_stack.layout import PROJECT, VENV
from medallion_stack.ports import LOOPBACK
from medallion_stack.process import Service

USER = "admin"
PARALLELISM = 4
"""Tasks at once; each slot is a process of 140 MB."""
ROLES = {USER: "admin", "operator": "op", "viewer": "viewer", "monitor": "viewer"}
"""People's logins, and the monitor's own, with Airflow's roles."""
# What Airflow's own health report calls each process that has a heartbeat.
_HEARTBEATS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
# Without these flags they serve their logs to every network; here the API server reads the files.
_FLAGS = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}


@dataclass(frozen=True)
class AirflowKeys:
    """Generated secrets of one installation."""

    passwords: Mapping[str, str]
    """Of the users of ROLES."""
    fernet: str
    api: str
    jwt: str


@dataclass(frozen=True)
class Airflow:
    """One Airflow on loopback with LocalExecutor; its files are in `folder`, its tables in `database`."""

    folder: Path
    port: int
    database: str
    """DSN of the metadata database."""
    keys: AirflowKeys
    settings: Mapping[str, str]
    """The platform's settings (MEDALLION_*), which DAGs read from the environment."""
    smtp_port: int

    @property
    def url(self) -> str:
        """Where people and clients open it."""
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Make the login and bring the metadata database to this version; safe to repeat.

        Raises:
            ServiceUnavailable: the migration failed; carries what it said.
        """
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        self._passwords_file.touch(mode=0o600)
        self._passwords_file.write_text(json.dumps(dict(self.keys.passwords)))
        command = [*self._airflow(), "db", "migrate"]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment(), check=False)
        if done.returncode:
            said = f"{done.stdout}{done.stderr}"[-3000:]
            raise ServiceUnavailable(f"Airflow's database could not be migrated:\n{said}")

    def services(self) -> list[Service]:
        """How to run its processes; the API server first, as the others talk to it."""
        return [self._service("api-server"), *(self._service(name) for name in _HEARTBEATS)]

    def environment(self) -> dict[str, str]:
        """Everything Airflow's processes and its command line need; holds secrets."""
        options = {
            "CORE__DAGS_FOLDER": PROJECT / "dags",
            "CORE__PLUGINS_FOLDER": PROJECT / "plugins",
            "CORE__LOAD_EXAMPLES": False,
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": PARALLELISM,
            "CORE__FERNET_KEY": self.keys.fernet,
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in ROLES.items()),
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": False,
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": self._passwords_file,
            "DATABASE__SQL_ALCHEMY_CONN": self.database.replace("postgresql://", "postgresql+psycopg2://"),
            "API__HOST": LOOPBACK,
            "API__PORT": self.port,
            "API__BASE_URL": self.url,
            "API__WORKERS": 1,
            "API__SECRET_KEY": self.keys.api,
            "API_AUTH__JWT_SECRET": self.keys.jwt,
            "LOGGING__BASE_LOG_FOLDER": self.folder / "logs",
            "DAG_PROCESSOR__PARSING_PROCESSES": 1,
            # A changed file is read at once; unchanged ones need no core all the time.
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 300,
            # After kill -9 of everything, tasks that ran are noticed in two minutes instead of five.
            # Any less, and a busy machine's late heartbeats look like dead tasks.
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 120,
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 60,
            # Airflow notices the end of every other task only when its next heartbeat is due (default: 5 s).
            "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
            "USAGE_DATA_COLLECTION__ENABLED": False,
        }
        return {
            **base_environment(),
            "AIRFLOW_HOME": str(self.folder),
            # Airflow's workers write their title into their arguments, not over their environment too: it
            # says whose they are.
            "SPT_NOENV": "1",
            # Where drivers that run beside their task keep temporary files.
            "SPARK_LOCAL_DIRS": str(self.folder / "tmp"),
            **{f"AIRFLOW__{name}": str(value) for name, value in options.items()},
            **{
                f"AIRFLOW_CONN_{name.upper()}": json.dumps(value)
                for name, value in self._connections().items()
            },
            **self.settings,
        }

    @property
    def _passwords_file(self) -> Path:
        return self.folder / "passwords.json"

    def _airflow(self) -> list[str]:
        return [str(VENV / "bin/airflow")]

    def _service(self, name: str) -> Service:
        return Service(
            name=f"airflow-{name}",
            command=[*self._airflow(), name, *_FLAGS.get(name, [])],
            environment=self.environment(),
            is_ready=lambda: self._is_healthy(_HEARTBEATS.get(name, "metadatabase")),
            ready_on=self.url,
            ready_seconds=180,  # four interpreters load Airflow at once, on as little as one slow core
        )

    def _is_healthy(self, part: str) -> bool:
        with urllib.request.urlopen(f"{self.url}/api/v2/monitor/health", timeout=5) as answer:  # noqa: S310 - our own
            return bool(json.load(answer)[part]["status"] == "healthy")

    def _connections(self) -> dict[str, dict[str, Any]]:
        gold = urlsplit(self.settings["MEDALLION_GOLD_DSN"])
        spark = urlsplit(self.settings["MEDALLION_SPARK_MASTER"])
        return {
            "spark_default": {
                "conn_type": "spark",
                "host": f"spark://{spark.hostname}",
                "port": spark.port,
                "extra": {"spark-binary": "spark-submit"},
            },
            "gold_postgres": {
                "conn_type": "postgres",
                "host": gold.hostname,
                "port": gold.port,
                "login": gold.username,
                "password": gold.password,
                "schema": gold.path.lstrip("/"),
            },
            "smtp_default": {
                "conn_type": "smtp",
                "host": LOOPBACK,
                "port": self.smtp_port,
                "extra": {
                    "disable_ssl": True,
                    "disable_tls": True,
                    "from_email": self.settings["MEDALLION_ALERT_FROM"],
                },
            },
            # How the monitor asks Airflow what is paused and what runs.
            "airflow_api": {
                "conn_type": "http",
                "host": LOOPBACK,
                "port": self.port,
                "login": "monitor",
                "password": self.keys.passwords["monitor"],
            },
            "kafka_default": {
                "conn_type": "kafka",
                "extra": {"bootstrap.servers": self.settings["MEDALLION_KAFKA_BOOTSTRAP"]},
            },
            # Locally the lake is a folder; in Azure this connection is of type `adls`.
            "adls_default": {
                "conn_type": "fs",
                "extra": {"path": quote(self.settings["MEDALLION_LAKE_URI"])},
            },
        }
