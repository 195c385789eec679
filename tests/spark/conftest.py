"""One Spark session for all Spark tests, with the jars and settings of the product."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from kafka_log import TestLake
from medallion_contracts.loader import load_dataset
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.session.spark_session import open_session
from medallion_spark.stream.query import SESSION_SETTINGS
from medallion_stack import layout
from medallion_stack.bootstrap import ensure_jars


@pytest.fixture(scope="session")
def secrets_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that MEDALLION_SECRETS_FILE names, on the driver and in tasks; tests write theirs there."""
    file = tmp_path_factory.mktemp("secrets") / "secrets"
    file.touch(mode=0o600)
    os.environ["MEDALLION_SECRETS_FILE"] = str(file)
    return file


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory, secrets_file: Path) -> Iterator[SparkSession]:
    """A session on two local cores, made by the product's own `open_session`."""
    ensure_jars("spark", layout.SPARK_JARS)
    folder = tmp_path_factory.mktemp("spark")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    roots = [str(layout.PROJECT / root) for root in ("expectations", "spark_jobs")]
    settings = {
        "spark.master": "local[2]",
        "spark.driver.memory": "2g",
        # Nothing may depend on the machine's time zone. Plans are short and run once: the second compiler and
        # parallel collectors cost more than they give.
        "spark.driver.extraJavaOptions": (
            "-Duser.timezone=Asia/Kolkata -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
        ),
        "spark.driver.extraClassPath": f"{layout.SPARK_JARS}/*",
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(roots),
        "spark.executorEnv.MEDALLION_SECRETS_FILE": str(secrets_file),
        "spark.ui.enabled": "false",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder / "local"),
    }
    session = open_session("tests", LakeAccess(str(folder)), settings)
    yield session
    session.stop()


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Iterator[TestLake]:
    """An empty lake that micro-batches of hand-made Kafka records can be sent to, in the stream's session."""
    before = {name: spark.conf.get(name) for name in SESSION_SETTINGS if name.startswith("spark.sql.")}
    for name in before:
        spark.conf.set(name, SESSION_SETTINGS[name])
    yield TestLake(spark, tmp_path / "lake", load_dataset("customers"))
    for name, value in before.items():
        spark.conf.set(name, str(value))
