"""What a Spark job is started with: complete, and nothing secret."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medallion_ops.spark.jobs import SparkJob, gold_job, maintenance_job, rebuild_job, stream_job
from medallion_ops.spark.submission import client_environment, job_conf, supervised_request
from settings_of_tests import MARKED, settings

JOBS = {
    "stream": stream_job(settings(), "customers", submission="token"),
    "gold": gold_job(settings(), "customers", run_id="scheduled__2026"),
    "rebuild": rebuild_job(settings(), "customers", mode="as-judged", run_id="manual__2026"),
    "maintenance": maintenance_job(settings(), "customers", keep_from_version=7),
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_nothing_secret_reaches_arguments_properties_or_the_request(job: SparkJob) -> None:
    spark = settings().spark
    everything = f"{job} {job_conf(spark, job)} {json.dumps(supervised_request(spark, job))}"
    assert MARKED not in everything
    assert MARKED not in str({**client_environment(spark, Path("/tmp/job")), "PATH": ""})


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_every_job_names_its_share_of_the_cluster_and_its_jars(job: SparkJob) -> None:
    conf = job_conf(settings().spark, job)
    assert conf["spark.cores.max"] == str(job.cores)
    assert conf["spark.executor.memory"] == job.executor_memory
    assert conf["spark.executor.extraClassPath"] == "/opt/jars/*"
    assert conf["spark.executorEnv.MEDALLION_SECRETS_FILE"] == "/run/secrets/medallion"


def test_shares_leave_room_for_all_jobs_beside_each_other() -> None:
    # The local worker advertises 8; the stream's driver takes one more.
    assert 1 + sum(job.cores for job in JOBS.values()) <= 8


def test_the_stream_is_told_every_rule_that_is_a_setting() -> None:
    chosen = settings(
        TRIGGER_SECONDS="5",
        WATERMARK_MINUTES="60",
        MAX_OFFSETS_PER_TRIGGER="1000",
        LATENESS="accept",
        DEDUPLICATE="latest",
        REJECT_UNKNOWN_FIELDS="true",
    )
    arguments = set(stream_job(chosen, "customers", submission="abc").arguments)
    assert arguments >= {
        "--dataset=customers",
        "--lake-uri=abfss://lake@account.dfs.core.windows.net/medallion",
        "--lake-auth=service_principal",
        "--bootstrap=ns.servicebus.windows.net:9093",
        "--kafka-username=$ConnectionString",
        "--trigger-seconds=5",
        "--watermark-minutes=60",
        "--max-offsets-per-trigger=1000",
        "--lateness=accept",
        "--deduplicate=latest",
        "--reject-unknown-fields",
        "--submission=abc",
    }


def test_settings_that_are_not_set_are_no_arguments() -> None:
    arguments = " ".join(stream_job(settings(), "customers", submission="abc").arguments)
    assert "None" not in arguments
    assert "--max-offsets-per-trigger" not in arguments
    assert "--reject-unknown-fields" not in arguments


@pytest.mark.parametrize(("master", "address"), [("127.0.0.1", "127.0.0.1"), ("spark-master", None)])
def test_a_driver_beside_a_local_cluster_listens_on_loopback_only(master: str, address: str | None) -> None:
    local = settings(SPARK_MASTER=f"spark://{master}:7077").spark
    assert client_environment(local, Path("/tmp/job")).get("SPARK_LOCAL_IP") == address


def test_the_supervised_driver_is_a_spark_submit_on_the_worker() -> None:
    spark = replace(settings().spark, jobs_dir=Path("/srv/jobs"))
    request = supervised_request(spark, JOBS["stream"])
    properties, arguments = request["sparkProperties"], request["appArgs"]
    assert request["mainClass"] == "org.apache.spark.deploy.SparkSubmit"
    assert properties["spark.driver.supervise"] == "true"
    assert properties["spark.submit.deployMode"] == "cluster"
    assert "/srv/jobs/stream_to_silver.py" in arguments
    assert arguments[arguments.index("--py-files") + 1] == "/srv/jobs/medallion.zip"
    assert arguments[arguments.index("--master") + 1] == "spark://master:7077"
