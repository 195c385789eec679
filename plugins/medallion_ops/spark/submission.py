"""How a job gets to the cluster: a spark-submit command, or a REST request for the supervised stream.

A short job's driver runs beside its Airflow task (client mode): the task's log is the job's log, and the
task's end is the job's end. The stream's driver must outlive Airflow, so it runs on a worker (cluster mode,
supervised: the worker starts it again when it crashes).

Spark refuses a Python script in cluster mode on its standalone cluster. It takes a Java class, though, and
`org.apache.spark.deploy.SparkSubmit` is one: the driver that the worker starts is a spark-submit in client
mode. The request goes to the master's REST service directly, as `spark-submit` would send it, without a JVM.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medallion_contracts.errors import ServiceUnavailable, SubmissionUnknown
from medallion_ops.spark.class_archive import ClassArchive
from medallion_ops.spark.jobs import SparkJob
from medallion_ops.spark.settings import SparkSettings

PACKAGES = "medallion.zip"
"""medallion_contracts and medallion_spark, beside the entry scripts in MEDALLION_JOBS_DIR."""

SPARK_VERSION = "4.2.0"
TIMEOUT_SECONDS = 20

ACTIVE = frozenset({"SUBMITTED", "RUNNING", "RELAUNCHING", "UNKNOWN"})
"""Driver states after which another one follows; UNKNOWN while a master recovers."""
NOT_FOUND = "NOT_FOUND"
"""What `DriverStatus.state` says when the master does not know the driver (Spark's own word)."""


DRIVER_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Drivers plan and wait, executors compute: without the second compiler the stream's driver takes 29 s of CPU
time to its first micro-batch instead of 50 s, and one collector thread is enough."""


def job_conf(spark: SparkSettings, job: SparkJob) -> dict[str, str]:
    """Spark properties of a job; visible to anyone who opens Spark's page, so nothing secret."""
    return {
        "spark.cores.max": str(job.cores),
        "spark.executor.cores": str(job.cores),
        "spark.executor.memory": job.executor_memory,
        "spark.driver.memory": job.driver_memory,
        "spark.driver.extraJavaOptions": DRIVER_JVM,
        "spark.executor.extraClassPath": f"{spark.jars}/*",
        "spark.driver.extraClassPath": f"{spark.jars}/*",
        "spark.pyspark.python": spark.python,
        "spark.executorEnv.MEDALLION_SECRETS_FILE": str(spark.secrets_file),
    }


def local_conf(spark: SparkSettings, job: SparkJob, folder: Path) -> dict[str, str]:
    """Spark properties of a job whose driver runs beside its task; `folder` is for temporary files."""
    conf = job_conf(spark, job)
    options = "spark.driver.extraJavaOptions"
    archive = ClassArchive.of(spark, folder).options(makes_archive=job.makes_archive)
    return conf | {options: f"{conf[options]} -Djava.io.tmpdir={folder} {archive}".rstrip()}


def client_environment(spark: SparkSettings, folder: Path) -> dict[str, str]:
    """What spark-submit gets beside the task's own environment; `folder` is for temporary files."""
    here = Path(sys.executable)
    host = spark.master.removeprefix("spark://").rpartition(":")[0]
    # A driver beside a cluster on loopback listens there too; else executors must reach it over the network.
    loopback = {"SPARK_LOCAL_IP": host} if host in ("127.0.0.1", "localhost") else {}
    return loopback | {
        "MEDALLION_SECRETS_FILE": str(spark.secrets_file),
        "SPARK_LOCAL_DIRS": str(folder),
        "TMPDIR": str(folder),
        "PYSPARK_PYTHON": spark.python,
        "PYSPARK_DRIVER_PYTHON": str(here),
        # The spark-submit that was installed with this Airflow, whatever PATH says.
        "PATH": os.pathsep.join((str(here.parent), os.environ.get("PATH", ""))),
    }


def _submit_arguments(spark: SparkSettings, job: SparkJob) -> list[str]:
    conf = [word for name, value in job_conf(spark, job).items() for word in ("--conf", f"{name}={value}")]
    return [
        *("--master", spark.master, "--name", job.name, *conf),
        *("--py-files", f"{spark.jobs_dir}/{PACKAGES}"),
        f"{spark.jobs_dir}/{job.script}",
        *job.arguments,
    ]


def supervised_request(spark: SparkSettings, job: SparkJob) -> dict[str, Any]:
    """The REST request that starts a job's driver on a worker and keeps it running there."""
    packages = f"file:{spark.jobs_dir}/{PACKAGES}"
    return {
        "action": "CreateSubmissionRequest",
        "clientSparkVersion": SPARK_VERSION,
        # Spark wants a jar to fetch; SparkSubmit itself is on each worker's class path already.
        "appResource": packages,
        "mainClass": "org.apache.spark.deploy.SparkSubmit",
        "appArgs": _submit_arguments(spark, job),
        "sparkProperties": {
            "spark.master": spark.master,
            "spark.app.name": job.name,
            "spark.submit.deployMode": "cluster",
            "spark.driver.supervise": "true",
            "spark.driver.cores": "1",
            "spark.driver.memory": job.driver_memory,
            "spark.driver.extraJavaOptions": DRIVER_JVM,
            # The driver's JVM is up before its own spark-submit reads --conf: its class path is set here.
            "spark.driver.extraClassPath": f"{spark.jars}/*",
        },
        "environmentVariables": {
            "MEDALLION_SECRETS_FILE": str(spark.secrets_file),
            "PYSPARK_PYTHON": spark.python,
        },
    }


@dataclass(frozen=True)
class DriverStatus:
    """What the master says about a driver; `state` is Spark's word."""

    driver_id: str
    state: str
    worker: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether the driver runs, or will again without anyone's doing."""
        return self.state in ACTIVE


class ClusterClient:
    """The master's REST submission service."""

    def __init__(self, spark: SparkSettings) -> None:
        self._spark = spark

    def submit(self, job: SparkJob) -> str:
        """Start the job's supervised driver; gives the driver's id.

        Raises:
            ServiceUnavailable: The master is not there, or refused; no driver was started.
            SubmissionUnknown: It took the request and did not answer: a driver may have been started.
        """
        import httpx

        try:
            answer = self._call("POST", "create", supervised_request(self._spark, job))
        except ServiceUnavailable as error:
            if isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout):
                raise
            raise SubmissionUnknown(str(error)) from error
        if not answer.get("success"):
            raise ServiceUnavailable(f"the Spark master refused {job.name}: {answer.get('message', answer)}")
        return str(answer["submissionId"])

    def status(self, driver_id: str) -> DriverStatus:
        """The driver's state, NOT_FOUND when the master does not know it."""
        answer = self._call("GET", f"status/{driver_id}")
        if not answer.get("success"):
            return DriverStatus(driver_id, NOT_FOUND)
        return DriverStatus(driver_id, str(answer["driverState"]), answer.get("workerHostPort"))

    def kill(self, driver_id: str) -> None:
        """Stop the driver for good; one that already ended is fine."""
        self._call("POST", f"kill/{driver_id}")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        import httpx

        url = f"{self._spark.rest}/v1/submissions/{path}"
        try:
            response = httpx.request(method, url, json=body, timeout=TIMEOUT_SECONDS, trust_env=False)
            answer: dict[str, Any] = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ServiceUnavailable(
                f"the Spark master does not answer at {self._spark.rest} ({type(error).__name__}): "
                "check MEDALLION_SPARK_REST, and that it runs with spark.master.rest.enabled=true"
            ) from error
        return answer
