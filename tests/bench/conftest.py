"""One Spark session with room for millions of rows, and where measurements are kept."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.session.spark_session import open_session
from medallion_stack import layout
from medallion_stack.bootstrap import ensure_jars

Figures = Mapping[str, float]


@pytest.fixture(scope="session")
def secrets_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that MEDALLION_SECRETS_FILE names, on the driver and in tasks."""
    file = tmp_path_factory.mktemp("secrets") / "secrets"
    file.touch(mode=0o600)
    os.environ["MEDALLION_SECRETS_FILE"] = str(file)
    return file


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory, secrets_file: Path) -> Iterator[SparkSession]:
    """A session on two local cores and 4 GiB."""
    ensure_jars("spark", layout.SPARK_JARS)
    folder = tmp_path_factory.mktemp("spark")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    roots = [str(layout.PROJECT / root) for root in ("expectations", "spark_jobs")]
    session = open_session(
        "bench",
        LakeAccess(str(folder)),
        {
            "spark.master": "local[2]",
            "spark.driver.memory": "4g",
            "spark.driver.extraClassPath": f"{layout.SPARK_JARS}/*",
            "spark.executorEnv.PYTHONPATH": os.pathsep.join(roots),
            "spark.executorEnv.MEDALLION_SECRETS_FILE": str(secrets_file),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.local.dir": str(folder / "local"),
        },
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def keep() -> Callable[[str, Figures], None]:
    """Print figures and keep them as build/bench/<name>.json, with the date and the machine."""
    folder = layout.PROJECT / "build" / "bench"

    def keep_figures(name: str, figures: Figures) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        about = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "cores": os.cpu_count() or 0}
        content = {**about, "machine": platform.machine(), "figures": dict(figures)}
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
        print(f"\n{name} ({about['at']}, {about['cores']} cores)")
        for what, figure in figures.items():
            print(f"  {what:<58}{figure:>12,.2f}")

    return keep_figures
