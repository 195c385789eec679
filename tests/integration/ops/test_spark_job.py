"""A Spark job that ends, run by its operator on a real cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException

from medallion_contracts.errors import MedallionError
from medallion_ops.spark.jobs import SparkJob
from medallion_ops.spark.operators import SparkJobOperator
from medallion_stack.layout import PROJECT
from medallion_stack.waiting import wait_until
from medallion_store.process_id import ProcessId
from services import SparkServers

WORKS = """
import json, os, sys
import medallion_stand_in
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
conf = spark.sparkContext.getConf()
rows = spark.range(10, numPartitions=1).rdd.map(lambda row: os.environ["MEDALLION_SECRETS_FILE"]).distinct()
print(json.dumps({"first": "line"}))
print(json.dumps({
    "local": str(spark._jvm.java.lang.System.getProperty("java.io.tmpdir")),
    "arguments": sys.argv[1:], "cores": conf.get("spark.cores.max"), "secrets_file": rows.collect(),
    "properties": sorted(value for _, value in conf.getAll()),
}))
"""
TELLS_ITS_ARCHIVE = """
import json
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("local[1]").getOrCreate()
beans = spark._jvm.java.lang.management.ManagementFactory
options = [one for one in beans.getRuntimeMXBean().getInputArguments() if "SharedArchiveFile" in one]
print(json.dumps({"set_id": spark.range(3).count(), "options": options}))
"""
FAILS = """
import sys
print("error: gold cannot be written:\\n  - one thing\\n  - another thing", file=sys.stderr)
sys.exit(1)
"""
LOSES_ITS_EXECUTORS = """
import sys, time
from pathlib import Path
sys.path[:0] = [{paths!r}]
from pyspark.sql import SparkSession
from medallion_spark.session.executor_watch import ended_without_executors

def work(_):
    Path({started!r}).touch()
    time.sleep(300)

spark = SparkSession.builder.getOrCreate()
with ended_without_executors(spark, seconds=3):
    spark.sparkContext.parallelize([0], 1).map(work).collect()
"""
NEEDS_NO_JVM = """
import os, sys, time
from pathlib import Path
sys.path[:0] = [{paths!r}]
from medallion_store.parent_process import end_with_parent
end_with_parent()
Path({started!r}).write_text(f"{{os.getppid()}} {{os.getpid()}}")
time.sleep(300)
"""
CRASHES = "raise ValueError('jane@example.com')"


def operator() -> SparkJobOperator:
    job = SparkJob("job", "job.py", ("--a=1", "--b=x y"), 1, "512m", "512m")
    return SparkJobOperator(dataset="customers", task_id="job", job=lambda settings, context: job)


def run(jobs: Path, script: str) -> Any:
    (jobs / "job.py").write_text(script)
    return operator().execute({})


def write_script(jobs: Path, script: str) -> Path:
    """The script with its blanks filled; gives the file by which it says that it has started."""
    started = jobs / "started"
    paths = f"{PROJECT / 'spark_jobs'}", f"{PROJECT / 'expectations'}"
    text = script.replace("[{paths!r}]", repr(list(paths))).replace("{started!r}", repr(str(started)))
    (jobs / "job.py").write_text(text.replace("{{", "{").replace("}}", "}"))
    return started


def jvm_and_driver(started: Path) -> list[ProcessId]:
    wait_until(lambda: started.exists() and started.read_text() != "", 60, "the job's driver")
    found = [ProcessId.of(int(pid)) for pid in started.read_text().split()]
    return [process for process in found if process]


def test_a_job_gets_what_it_needs_and_its_last_numbers_are_the_result(
    jobs: Path, servers: SparkServers
) -> None:
    numbers = run(jobs, WORKS)
    assert numbers["arguments"] == ["--a=1", "--b=x y"]
    assert numbers["cores"] == "1"
    assert numbers["secrets_file"] == [str(servers.cluster.secrets_file)]
    assert not [value for value in numbers["properties"] if "postgresql://" in value]


@pytest.mark.full  # writing an archive takes a while
def test_a_job_starts_from_the_classes_of_those_before(
    jobs: Path, servers: SparkServers, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(jobs.parent / "local"))
    job = SparkJob("job", "job.py", (), 1, "512m", "512m", makes_archive=True)
    (jobs / "job.py").write_text(TELLS_ITS_ARCHIVE)

    def run_job() -> Any:
        found = SparkJobOperator(task_id="job", dataset="customers", job=lambda settings, context: job)
        return found.execute({})

    assert run_job() == run_job() == {"set_id": 3, "options": []}
    [archive] = (jobs.parent / "local").glob("*.jsa")
    capfd.readouterr()
    assert run_job()["options"] == [f"-XX:SharedArchiveFile={archive}"]
    assert "[cds" not in "".join(capfd.readouterr()), "the JVM takes it"


def test_nothing_of_the_connection_is_echoed(
    jobs: Path, servers: SparkServers, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    connection = {
        "conn_type": "spark",
        "host": servers.cluster.master_url,
        "login": "marked-l0gin",
        "password": "marked-5ecret",
        "extra": {"spark-binary": "spark-submit", "token": "marked-t0ken"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps(connection))
    with pytest.raises(AirflowException) as raised:
        run(jobs, CRASHES)
    logged = "".join(capfd.readouterr())
    assert "Spark-Submit cmd" in logged, "there is something to look at"
    assert "marked-" not in logged
    assert "marked-" not in str(raised.value)


def test_a_job_leaves_no_temporary_files_however_it_ends(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "local"
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(base))
    numbers = run(jobs, WORKS)
    assert str(base / "medallion-job-") in numbers["local"], "its driver uses a folder of its own"
    assert list(base.iterdir()) == []
    with pytest.raises(AirflowException):
        run(jobs, CRASHES)
    assert list(base.iterdir()) == []


def test_a_job_that_gives_up_fails_its_task_with_its_own_words(jobs: Path) -> None:
    with pytest.raises(MedallionError) as raised:
        run(jobs, FAILS)
    assert str(raised.value) == "job.py: gold cannot be written:\n  - one thing\n  - another thing"


def test_a_job_that_crashes_is_no_error_of_ours(jobs: Path) -> None:
    with pytest.raises(AirflowException) as raised:
        run(jobs, CRASHES)
    assert not isinstance(raised.value, MedallionError)


def test_a_job_that_loses_its_executors_ends_and_says_why(jobs: Path, servers: SparkServers) -> None:
    started = write_script(jobs, LOSES_ITS_EXECUTORS)
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(operator().execute, {})
        wait_until(lambda: started.exists() or task.done(), 90, "the executor's task")
        servers.worker.kill()
        try:
            with pytest.raises(MedallionError, match=r"gave no executor .* no worker is alive"):
                task.result(timeout=90)
        finally:
            servers.worker.start()


def test_a_task_that_is_stopped_ends_the_jvm_and_the_driver(jobs: Path) -> None:
    started = write_script(jobs, NEEDS_NO_JVM)
    running = operator()
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(running.execute, {})
        both = jvm_and_driver(started)
        assert len(both) == 2
        running.on_kill()
        with pytest.raises(AirflowException):
            task.result(timeout=30)
    assert [process.pid for process in both if process.is_alive] == []


def test_a_task_that_is_killed_leaves_neither_jvm_nor_driver(jobs: Path) -> None:
    started = write_script(jobs, NEEDS_NO_JVM)
    program = "from ops.test_spark_job import operator; operator().execute({})"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*sys.path, str(PROJECT / "tests/integration")]),
    }
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as task:
        both = jvm_and_driver(started)
        os.kill(task.pid, signal.SIGKILL)
    wait_until(lambda: not any(process.is_alive for process in both), 10, "the end of JVM and driver")
