"""The environment that services start from: the user's, without what would steer our tools by accident."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from medallion_contracts.errors import ServiceUnavailable
from medallion_stack.layout import PROJECT, VENV

_STEERING = ("AIRFLOW", "SPARK_", "PYSPARK_", "HADOOP_", "KAFKA_", "MEDALLION_", "PG", "PYTHON")


def base_environment() -> dict[str, str]:
    """Paths, locale, proxies and certificates of the user; our interpreter first on PATH; UTC."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_STEERING)}
    kept.update(
        PATH=f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        PYTHONPATH=os.pathsep.join(
            str(PROJECT / root) for root in ("expectations", "plugins", "docker/local")
        ),
        PYTHONUNBUFFERED="1",
        # Both spellings: some clients read the one, some the other, and the small one wins.
        **{
            name: ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost")))
            for name in ("NO_PROXY", "no_proxy")
        },
        TZ="UTC",
        LC_ALL="C.UTF-8",
    )
    return kept


def java() -> str:
    """The Java launcher: that of JAVA_HOME when set, else the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


def package_folder(package: str) -> Path:
    """Where an installed package is, without importing it.

    Raises:
        ServiceUnavailable: it is not installed; says how to.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServiceUnavailable(f"the Python package {package} is missing: run `uv sync`")
    return Path(spec.submodule_search_locations[0])


def spark_home() -> Path:
    """The Spark distribution inside the pyspark wheel."""
    return package_folder("pyspark")
