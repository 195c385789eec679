"""The settings of the Spark cluster; read with all others by `medallion_ops.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medallion_ops import setting_fields as f


@dataclass(frozen=True)
class SparkSettings(f.Section):
    """The Spark cluster and what the workers find on their disks."""

    TITLE: ClassVar[str] = "Cluster"

    master: str = f.setting(
        "SPARK_MASTER",
        f.spark_master,
        "the standalone master",
        example="spark://spark-master:7077",
        required=True,
    )
    rest: str = f.setting(
        "SPARK_REST",
        f.http_url,
        "the master's submission service; it has no login, keep it on a private network",
        example="http://spark-master:6066",
        required=True,
    )
    jars: Path = f.setting(
        "SPARK_JARS",
        f.absolute_path,
        "folder with the jars of pom.xml, the same path on every worker and on Airflow's",
        example="/opt/medallion/jars",
        required=True,
    )
    jobs_dir: Path = f.setting(
        "JOBS_DIR",
        f.absolute_path,
        "folder with the entry scripts and medallion.zip (packages), the same path on every worker",
        example="/opt/medallion/jobs",
        required=True,
    )
    secrets_file: Path = f.setting(
        "SECRETS_FILE",
        f.absolute_path,
        "file with KEY=VALUE lines of the secret settings, mode 0600, the same path on every worker",
        example="/run/secrets/medallion",
        required=True,
    )
    python: str = f.setting(
        "SPARK_PYTHON", f.text, "Python 3 on the workers, with pyspark's needs", default="python3"
    )
