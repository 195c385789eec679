"""A Spark job that ends, run by its operator on a real cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException

from medallion_contracts.errors import MedallionError
from medallion_ops.spark.jobs import SparkJob
from medallion_ops.spark.operators import SparkJobOperator
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
    "arguments": sys.argv[1:], "cores": conf.get("spark.cores.max"), "secrets_file": rows.collect(),
    "properties": sorted(value for _, value in conf.getAll()),
}))
"""
FAILS = """
import sys
print("error: gold cannot be written:\\n  - one thing\\n  - another thing", file=sys.stderr)
sys.exit(1)
"""
CRASHES = "raise ValueError('jane@example.com')"


def run(jobs: Path, script: str) -> Any:
    (jobs / "job.py").write_text(script)
    job = SparkJob("job", "job.py", ("--a=1", "--b=x y"), 1, "512m", "512m")
    return SparkJobOperator(task_id="job", job=lambda settings, context: job).execute({})


def test_a_job_gets_what_it_needs_and_its_last_numbers_are_the_result(
    jobs: Path, servers: SparkServers
) -> None:
    numbers = run(jobs, WORKS)
    assert numbers["arguments"] == ["--a=1", "--b=x y"]
    assert numbers["cores"] == "1"
    assert numbers["secrets_file"] == [str(servers.cluster.secrets_file)]
    assert not [value for value in numbers["properties"] if "postgresql://" in value]


def test_a_job_that_gives_up_fails_its_task_with_its_own_words(jobs: Path) -> None:
    with pytest.raises(MedallionError) as raised:
        run(jobs, FAILS)
    assert str(raised.value) == "job.py: gold cannot be written:\n  - one thing\n  - another thing"


def test_a_job_that_crashes_is_no_error_of_ours(jobs: Path) -> None:
    with pytest.raises(AirflowException) as raised:
        run(jobs, CRASHES)
    assert not isinstance(raised.value, MedallionError)
