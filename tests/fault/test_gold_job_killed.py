"""Kill the gold job, an executor or Postgres while rows are copied: gold is the old or the new state.

The job is the real entry script in a process of its own. A trigger in Postgres holds every COPY for a moment
before it commits, so that the kill comes in the middle of one.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from gold_model import DATASET, Version, gold_of, version
from gold_runs import GoldRuns
from medallion_ops.migrations.runner import migrate
from medallion_ops.spark.submission import DRIVER_JVM
from medallion_stack import layout
from medallion_stack.bootstrap import ensure_jars
from medallion_store.secret import Secret
from services import PostgresServer, SparkServers

PATIENCE_SECONDS = 600
pytestmark = pytest.mark.timeout(3 * PATIENCE_SECONDS)
VERSIONS = [version(f"c{number}", number / 7, tenure=number % 80) for number in range(400)]
HOLD = """
CREATE FUNCTION staging.hold() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(5); RETURN NEW; END $$;
CREATE TRIGGER hold BEFORE UPDATE ON staging.copies FOR EACH ROW EXECUTE FUNCTION staging.hold();
"""
RELEASE = "DROP TRIGGER hold ON staging.copies; DROP FUNCTION staging.hold()"


@dataclass
class GoldJob:
    """The entry script against one lake and one database, as often as it takes."""

    runs: GoldRuns
    folder: Path
    master: str = "local[2]"
    local_rows: int = 0
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[str]:
        """Start it in a process group of its own."""
        secrets = self.folder / "secrets"
        secrets.write_text(f"MEDALLION_GOLD_DSN={self.runs.dsn}\n")
        secrets.chmod(0o600)
        roots = os.pathsep.join(str(layout.PROJECT / root) for root in ("expectations", "spark_jobs"))
        settings = {
            "spark.master": self.master,
            "spark.driver.extraClassPath": f"{layout.SPARK_JARS}/*",
            "spark.executor.extraClassPath": f"{layout.SPARK_JARS}/*",
            "spark.executorEnv.PYTHONPATH": roots,
            "spark.executorEnv.MEDALLION_SECRETS_FILE": str(secrets),
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.cores.max": "2",
            "spark.executor.cores": "1",
            "spark.executor.memory": "1g",
            "spark.executor.extraJavaOptions": DRIVER_JVM,
            "spark.ui.enabled": "false",
            "spark.local.dir": str(self.folder / "spark"),
        }
        confs = " ".join(f"--conf {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
        job = subprocess.Popen(
            [
                sys.executable,
                str(layout.PROJECT / "spark_jobs" / "silver_to_gold.py"),
                f"--lake-uri={self.runs.lake}",
                "--run-id=run",
                f"--local-rows={self.local_rows}",
            ],
            env={
                **os.environ,
                "PYTHONPATH": roots,
                "PYSPARK_PYTHON": sys.executable,
                "PYSPARK_SUBMIT_ARGS": f"{confs} pyspark-shell",
                "MEDALLION_SECRETS_FILE": str(secrets),
                "SPARK_LOCAL_IP": "127.0.0.1",
                # As the product's drivers: short lives gain nothing from the second compiler.
                "JAVA_TOOL_OPTIONS": DRIVER_JVM,
            },
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "job.log").open("a"),
            text=True,
            start_new_session=True,
        )
        self.processes.append(job)
        return job

    def finish(self, job: subprocess.Popen[str]) -> dict[str, object]:
        """The report of a run that must succeed."""
        output, _ = job.communicate(timeout=PATIENCE_SECONDS)
        assert job.returncode == 0, self.log()[-3000:]
        report: dict[str, object] = json.loads(output.splitlines()[-1])
        return report

    def log(self) -> str:
        """What the runs wrote to stderr."""
        return (self.folder / "job.log").read_text()

    def kill(self, job: subprocess.Popen[str]) -> None:
        """Kill -9 the driver with its JVM and workers, as a machine that loses power does."""
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()

    def await_copy(self, job: subprocess.Popen[str]) -> None:
        """Wait until some task holds rows that it has copied but not committed."""
        held = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE wait_event = 'PgSleep' AND datname = current_database()"
        )
        until(lambda: self.runs.query(held) != [(0,)] or job.poll() is not None)
        assert job.poll() is None, self.log()[-3000:]

    def publish_newest(self) -> None:
        """Publish the newest set and compare gold with the model."""
        [(set_id,)] = self.runs.query("SELECT max(set_id) FROM staging.manifests")
        self.runs.publish_set(set_id)


def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


@pytest.fixture
def job(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[GoldJob]:
    ensure_jars("spark", layout.SPARK_JARS)
    dsn = postgres_server.fresh_database()
    migrate(Secret(dsn), DATASET)
    runs = GoldRuns(None, dsn, tmp_path / "lake")  # type: ignore[arg-type]  # the job has a session of its own
    runs.append(VERSIONS)
    job = GoldJob(runs, tmp_path)
    yield job
    for process in job.processes:
        if process.poll() is None:
            job.kill(process)


def assert_gold_is(job: GoldJob, versions: list[Version]) -> None:
    assert job.runs.gold() == gold_of(versions)


def test_the_checker_sees_a_lost_and_a_doubled_row(job: GoldJob) -> None:
    job.finish(job.start())
    job.publish_newest()
    assert_gold_is(job, list(VERSIONS))
    job.runs.query("DELETE FROM gold.customers WHERE customer_id = 'c7'")
    assert job.runs.gold() != gold_of(VERSIONS)
    job.runs.query("UPDATE gold.segment_hourly SET updates = updates + 1")
    assert job.runs.gold()["segment_hourly"] != gold_of(VERSIONS)["segment_hourly"]


@pytest.mark.parametrize("local_rows", [0, 100_000], ids=["many", "few"])
def test_the_job_killed_in_the_middle_of_copy(job: GoldJob, local_rows: int) -> None:
    job.local_rows = local_rows
    job.runs.query(HOLD)
    dying = job.start()
    job.await_copy(dying)
    job.kill(dying)
    assert job.runs.query("SELECT count(*) FROM staging.manifests") == [(0,)]
    assert_gold_is(job, [])
    job.runs.query(RELEASE)
    report = job.finish(job.start())
    assert report["set_id"] == 2, "the killed run's set does not count"
    job.publish_newest()
    assert_gold_is(job, list(VERSIONS))
    assert job.runs.query("SELECT to_regclass('staging.s1_customers')") == [(None,)], "its tables are gone"


@pytest.mark.full  # `make test` has the whole job killed there
def test_an_executor_killed_in_the_middle_of_copy(job: GoldJob, tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = SparkServers(folder)
    cluster.start()
    try:
        job.master = cluster.cluster.master_url
        job.runs.query(HOLD)
        running = job.start()
        job.await_copy(running)
        executors = executors_of(cluster)
        assert len(executors) == 2
        executors[0].kill()
        executors[0].wait()
        job.runs.query(RELEASE)
        report = job.finish(running)
    finally:
        cluster.stop()
    assert report["set_id"] == 1, "the same run went on"
    job.publish_newest()
    assert_gold_is(job, list(VERSIONS))


def executors_of(cluster: SparkServers) -> list[psutil.Process]:
    """The JVMs of a cluster's executors: their worker's folder is in their environment."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "org.apache.spark.executor.CoarseGrainedExecutorBackend" in (process.info["cmdline"] or []):
            with suppress(psutil.Error):
                if str(cluster.folder) in " ".join(process.environ().values()):
                    found.append(process)
    return found


@pytest.mark.full  # `make test` has it killed inside the publishing transaction
def test_postgres_killed_in_the_middle_of_copy(job: GoldJob, postgres_server: PostgresServer) -> None:
    job.runs.query(HOLD)
    running = job.start()
    job.await_copy(running)
    postgres_server.kill()
    postgres_server.restart()
    running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 1
    assert "does not answer" in job.log() or "gold is unchanged" in job.log()
    assert_gold_is(job, [])
    job.runs.query(RELEASE)
    job.finish(job.start())
    job.publish_newest()
    assert_gold_is(job, list(VERSIONS))


def test_two_jobs_at_once(job: GoldJob) -> None:
    both = [job.start(), job.start()]
    for one in both:
        job.finish(one)
    sets = [row[0] for row in job.runs.query("SELECT set_id FROM staging.manifests ORDER BY 1")]
    assert sets == [1, 2]
    job.publish_newest()
    assert_gold_is(job, list(VERSIONS))
