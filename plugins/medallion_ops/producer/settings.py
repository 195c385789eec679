"""The settings of the producer's DAG; read with all others by `medallion_ops.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medallion_ops import setting_fields as f


@dataclass(frozen=True)
class ProducerSettings(f.Section):
    """What the producer's DAG may read."""

    TITLE: ClassVar[str] = "Producer"

    folder: Path | None = f.setting(
        "PRODUCER_DIR",
        f.absolute_path,
        "folder on Airflow's workers from which the producer's DAG may send files; none, no file",
        example="/srv/incoming",
    )
