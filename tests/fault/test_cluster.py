"""The supervised driver on a real cluster, with each of its parts killed while records keep coming."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from fault.checker import check, read_lake
from fault.drivers import PATIENCE_SECONDS, TOPICS, Drivers
from fault.findings import FaultTable
from fault.topic_log import read_topics
from fault.trickle import Trickle

from medallion_contracts.loader import load_dataset
from medallion_ops.control import StreamControl
from medallion_ops.lake_settings import LakeSettings
from medallion_ops.settings import Settings
from medallion_ops.spark.jobs import stream_job
from medallion_ops.spark.submission import ClusterClient
from medallion_stack.bootstrap import build_jobs, ensure_jars
from medallion_stack.layout import SPARK_JARS
from services import BrokerServer, SparkServers

pytestmark = [pytest.mark.full, pytest.mark.timeout(3000)]


@dataclass
class Cluster:
    """Everything that can be killed."""

    broker: BrokerServer
    spark: SparkServers
    lake: Drivers

    def processes(self, main: str) -> list[psutil.Process]:
        """Java processes of this cluster with that main class."""
        mark = str(self.spark.folder)
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if main in (process.info["cmdline"] or []) and mark in _environment(process)
        ]

    def kill_driver(self, how: signal.Signals) -> None:
        """End the driver's JVM, as its worker or a crash does."""
        [driver] = [p for p in self.processes("org.apache.spark.deploy.SparkSubmit") if _is_python_job(p)]
        os.kill(driver.pid, how)

    def kill_executors(self) -> None:
        """Kill -9 all executors."""
        executors = self.processes("org.apache.spark.executor.CoarseGrainedExecutorBackend")
        assert executors
        for executor in executors:
            executor.kill()

    def lose_worker(self) -> None:
        """Kill -9 the worker with its driver and executors, and start another one."""
        self.spark.worker.kill()
        self.spark.worker.start()

    def lose_broker(self) -> None:
        """Kill -9 the broker and start it again."""
        self.broker.kill()
        self.broker.start()


def _environment(process: psutil.Process) -> str:
    try:
        return " ".join(process.environ().values())
    except psutil.Error:
        return ""


def _is_python_job(process: psutil.Process) -> bool:
    return any("stream_to_silver.py" in word for word in process.cmdline())


@pytest.fixture
def cluster(own_broker: BrokerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Master, worker and broker with the stream running on them, submitted as Airflow does."""
    ensure_jars("spark", SPARK_JARS)
    spark = SparkServers(tmp_path / "spark")
    build_jobs(tmp_path / "jobs")
    environment = {
        "KAFKA_BOOTSTRAP": own_broker.bootstrap,
        "LAKE_URI": str(tmp_path / "lake"),
        "SPARK_MASTER": spark.cluster.master_url,
        "SPARK_REST": spark.cluster.rest_url,
        "SPARK_JARS": str(SPARK_JARS),
        "JOBS_DIR": str(tmp_path / "jobs"),
        "SPARK_PYTHON": sys.executable,
        "SECRETS_FILE": str(spark.cluster.secrets_file),
        "GOLD_DSN": "postgresql://writer@127.0.0.1:9/gold",
        "ALERT_TO": "data@example.com",
        "TRIGGER_SECONDS": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"MEDALLION_{name}", value)
    settings = Settings.from_environment()
    spark.start()
    try:
        ClusterClient(settings.spark).submit(stream_job(settings, "customers", submission="test"))
        yield Cluster(own_broker, spark, Drivers(tmp_path / "lake", own_broker.bootstrap))
    finally:
        spark.stop()


def test_any_part_of_the_cluster_may_die(cluster: Cluster, fault_table: FaultTable) -> None:
    faults: dict[str, Callable[[], None]] = {
        "cluster: KILL driver (supervised)": lambda: cluster.kill_driver(signal.SIGKILL),
        "cluster: TERM driver (supervised)": lambda: cluster.kill_driver(signal.SIGTERM),
        "cluster: KILL executor": cluster.kill_executors,
        "cluster: KILL worker, started again": cluster.lose_worker,
        "cluster: KILL broker, started again": cluster.lose_broker,
    }
    recovered: dict[str, float] = {}
    with Trickle(cluster.broker.bootstrap):
        for name, fault in faults.items():
            await_batches(cluster.lake, more=3)
            before, since = cluster.lake.batches(), time.monotonic()
            fault()
            recovered[name] = cluster.lake.wait_for_batch(before, since)
    cluster.lake.wait_until(cluster.lake.is_caught_up)
    stop_stream()
    topics = read_topics(cluster.broker.bootstrap, TOPICS)
    report = check(topics, read_lake(cluster.lake.paths), load_dataset("customers"))
    for name, seconds in recovered.items():
        fault_table.add(name, report, seconds)
    assert report.is_clean, report
    assert recovered["cluster: KILL driver (supervised)"] <= 60


def await_batches(lake: Drivers, more: int) -> None:
    """Wait for so many more micro-batches: the fault meets a stream at work."""
    before = lake.batches()
    lake.wait_until(lambda: lake.batches() >= before + more)


def stop_stream() -> None:
    """Stop it as operators do, and see that it makes way."""
    control = StreamControl(LakeSettings.from_environment(), "customers")
    control.request_stop("test")
    control.wait_until_free(PATIENCE_SECONDS)
    control.release("test")
