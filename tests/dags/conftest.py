"""The DagBag of the project, parsed once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

DAGS = Path(__file__).parents[2] / "dags"

# Airflow reads them when it is first imported. Nothing here needs its database.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


@pytest.fixture(scope="session")
def dag_bag() -> DagBag:
    """All DAG files, parsed without any of the platform's settings in the environment."""
    from airflow.dag_processing.dagbag import DagBag

    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("MEDALLION_")}
    try:
        return DagBag(DAGS)
    finally:
        os.environ.update(hidden)
