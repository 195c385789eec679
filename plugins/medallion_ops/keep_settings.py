"""How long what piles up is kept: Airflow's tables and logs, Data Docs, audit rows, publications."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from medallion_ops import setting_fields as f
from medallion_store.secret import Secret

_days = partial(f.whole_number, at_least=1, at_most=36_500)


@dataclass(frozen=True)
class KeepSettings(f.Section):
    """What lake_maintenance keeps, and for how long."""

    TITLE: ClassVar[str] = "Kept"

    airflow_dsn: Secret | None = f.setting(
        "AIRFLOW_DSN",
        f.postgres_dsn,
        "Airflow's own tables, for their upkeep; without it lake_maintenance leaves them alone",
        example="postgresql://airflow:...@db:5432/airflow",
    )
    airflow_days: int = f.setting(
        "KEEP_AIRFLOW_DAYS", _days, "days that runs and tasks stay in Airflow's tables", default="90"
    )
    log_days: int = f.setting("KEEP_LOG_DAYS", _days, "days that task logs stay", default="30", example="14")
    data_docs_days: int = f.setting(
        "KEEP_DATA_DOCS_DAYS", _days, "days that Data Docs stay, at most 100 sets of them", default="90"
    )
    audit_days: int = f.setting(
        "KEEP_AUDIT_DAYS",
        _days,
        "days that findings of the gate, questions with their answers and ended episodes stay",
        default="90",
        example="400",
    )
    publication_days: int = f.setting(
        "KEEP_PUBLICATION_DAYS",
        _days,
        "days that publications and released rejections stay; the last publication always does",
        default="730",
    )
