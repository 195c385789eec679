"""The worker has room for what all datasets may run in the same minute."""

from __future__ import annotations

import yaml

from medallion_contracts.loader import dataset_names
from medallion_ops.spark.jobs import gold_job, rebuild_job, stream_job
from medallion_stack.layout import PROJECT
from medallion_stack.spark import WORKER_CORES, WORKER_MEMORY
from settings_of_tests import settings as settings_of_tests

STREAM_DRIVER_CORES = 1
"""The only driver that runs on a worker; the others are beside their task."""


def test_streams_hours_and_a_rebuild_of_every_dataset_get_their_cores_at_once() -> None:
    settings = settings_of_tests()
    cores = memory = 0
    for name in dataset_names():
        stream = stream_job(settings, name, submission="one")
        hour = gold_job(settings, name, run_id="run")
        rebuild = rebuild_job(settings, name, mode="as-judged", run_id="run")
        cores += STREAM_DRIVER_CORES + sum(job.cores for job in (stream, hour, rebuild))
        drivers = _gibibytes(stream.driver_memory)
        memory += drivers + sum(_gibibytes(job.executor_memory) for job in (stream, hour, rebuild))
    assert cores <= WORKER_CORES, "the local worker must advertise more cores"
    assert memory <= _gibibytes(WORKER_MEMORY), "the local worker must advertise more memory"


def test_the_worker_of_compose_advertises_the_same() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text())["services"]
    command = services["spark-worker"]["command"]
    given = {name: command[command.index(name) + 1] for name in ("--cores", "--memory")}
    assert given == {"--cores": str(WORKER_CORES), "--memory": WORKER_MEMORY}


def _gibibytes(memory: str) -> int:
    assert memory.endswith("g")
    return int(memory.removesuffix("g"))
