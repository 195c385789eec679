"""How much memory the executors of Spark jobs get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from medallion_ops import setting_fields as f


@dataclass(frozen=True)
class JobSettings(f.Section):
    """Memory of the jobs' executors; a dataset with larger rows may need more."""

    TITLE: ClassVar[str] = "Jobs"
    PER_DATASET: ClassVar[bool] = True

    stream_memory: str = f.setting(
        "STREAM_MEMORY",
        f.memory,
        "memory of the stream's and of a rebuild's executor",
        default="2g",
        example="4g",
    )
    gold_memory: str = f.setting(
        "GOLD_MEMORY", f.memory, "memory of the hourly gold job's executor", default="1g", example="2g"
    )
