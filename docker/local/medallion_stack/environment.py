"""The environment that services start from: the user's, without what would steer our tools by accident."""

from __future__ import annotations

import os
from pathlib import Path

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
        TZ="UTC",
        LC_ALL="C.UTF-8",
    )
    return kept


def java() -> str:
    """The Java launcher: that of JAVA_HOME when set, else the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"
