"""A Spark standalone cluster: one master with its submission service, one worker."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medallion_stack.environment import base_environment, spark_home
from medallion_stack.layout import VENV
from medallion_stack.ports import LOOPBACK, answers
from medallion_stack.process import Service

WORKER_CORES = 16  # advertised, not real: each job says how many it takes, so that they run side by side
WORKER_MEMORY = "24g"
# Daemons do little: the first compiler alone starts faster and takes less memory.
_JVM = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"


@dataclass(frozen=True)
class SparkCluster:
    """Master and worker on loopback, with their files in `folder`."""

    folder: Path
    port: int
    rest_port: int
    web_port: int
    worker_port: int
    worker_web_port: int
    secrets_file: Path
    """KEY=VALUE lines; drivers and executors find its path in their environment."""

    @property
    def master_url(self) -> str:
        """spark://host:port."""
        return f"spark://{LOOPBACK}:{self.port}"

    @property
    def rest_url(self) -> str:
        """http://host:port of the submission service; it has no login."""
        return f"http://{LOOPBACK}:{self.rest_port}"

    @property
    def web_url(self) -> str:
        """The master's page."""
        return f"http://{LOOPBACK}:{self.web_port}"

    def master(self) -> Service:
        """How to run the master."""
        self._recovery.mkdir(parents=True, exist_ok=True)
        options = {
            # The master remembers its drivers: the stream goes on through a restart of the master, and after
            # a restart of everything it is launched again under the driver id that Airflow waits for.
            "spark.deploy.recoveryMode": "FILESYSTEM",
            "spark.deploy.recoveryDirectory": self._recovery,
            "spark.deploy.recoveryTimeout": 20,
            "spark.master.rest.enabled": "true",
            "spark.master.rest.host": LOOPBACK,
            "spark.master.rest.port": self.rest_port,
        }
        return Service(
            name="spark-master",
            command=[
                *self._daemon("master.Master"),
                *("--host", LOOPBACK),
                *("--port", str(self.port)),
                *("--webui-port", str(self.web_port)),
            ],
            environment={**self._environment(), "SPARK_MASTER_OPTS": _properties(options)},
            is_ready=lambda: answers(self.rest_port) and answers(self.web_port),
            ready_on=self.master_url,
        )

    def forget_drivers(self) -> None:
        """Let the master, which does not run, start without drivers of its earlier life."""
        shutil.rmtree(self._recovery, ignore_errors=True)

    def worker(self) -> Service:
        """How to run the worker; ready when the master has it."""
        options = {"spark.worker.cleanup.enabled": "true", "spark.worker.cleanup.appDataTtl": 86_400}
        return Service(
            name="spark-worker",
            command=[
                *self._daemon("worker.Worker"),
                *("--host", LOOPBACK),
                *("--port", str(self.worker_port)),
                *("--webui-port", str(self.worker_web_port)),
                *("--cores", str(WORKER_CORES)),
                *("--memory", WORKER_MEMORY),
                *("--work-dir", str(self.folder / "work")),
                self.master_url,
            ],
            environment={**self._environment(), "SPARK_WORKER_OPTS": _properties(options)},
            is_ready=self._has_worker,
            ready_on=self.master_url,
        )

    @property
    def _recovery(self) -> Path:
        return self.folder / "recovery"

    def _daemon(self, main: str) -> list[str]:
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        return [str(spark_home() / "bin/spark-class"), f"org.apache.spark.deploy.{main}"]

    def _environment(self) -> dict[str, str]:
        return {
            **base_environment(),
            "SPARK_HOME": str(spark_home()),
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": _JVM,
            "SPARK_LOCAL_IP": LOOPBACK,  # web pages too would listen everywhere without it
            "SPARK_LOCAL_DIRS": str(self.folder / "tmp"),
            "PYSPARK_PYTHON": str(VENV / "bin/python"),
            "MEDALLION_SECRETS_FILE": str(self.secrets_file),
        }

    def _has_worker(self) -> bool:
        with urllib.request.urlopen(f"{self.web_url}/json/", timeout=2) as answer:  # noqa: S310 - our own address
            return int(json.load(answer)["aliveworkers"]) > 0


def _properties(options: Mapping[str, object]) -> str:
    return " ".join(f"-D{name}={value}" for name, value in options.items())
