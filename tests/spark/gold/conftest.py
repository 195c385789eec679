"""A lake and a migrated gold database for each test."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from gold_model import DATASET
from gold_runs import GoldRuns
from medallion_ops.migrations.runner import migrate
from medallion_store.secret import Secret


@pytest.fixture
def runs(spark: SparkSession, postgres: str, secrets_file: Path, tmp_path: Path) -> GoldRuns:
    secrets_file.write_text(f"MEDALLION_GOLD_DSN={postgres}\n")
    migrate(Secret(postgres), DATASET)
    return GoldRuns(spark, postgres, tmp_path / "lake")
