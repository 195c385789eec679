"""The settings that whoever starts the stack may choose, and those that it keeps secret."""

from __future__ import annotations

import os

from medallion_contracts.loader import dataset_names
from medallion_ops.job_settings import JobSettings
from medallion_ops.keep_settings import KeepSettings
from medallion_ops.limit_settings import LimitSettings
from medallion_ops.monitor.settings import MonitorSettings
from medallion_ops.page.settings import PageSettings
from medallion_ops.settings import declarations, overridable
from medallion_ops.watch.settings import WatchSettings
from medallion_stack import layout
from medallion_stack.state import State

# For Spark jobs, which read them from a file.
SECRET_SETTINGS = ("MEDALLION_GOLD_DSN", "MEDALLION_CHURN_USERNAME", "MEDALLION_CHURN_PASSWORD")
# What the user may choose, with the default; a choice made at one `make up` holds for the next ones.
CHOICES = {
    "MEDALLION_TRIGGER_SECONDS": "5",
    "MEDALLION_MAX_OFFSETS_PER_TRIGGER": "",
    "MEDALLION_WATERMARK_MINUTES": "10",
    "MEDALLION_LATENESS": "judge",
    "MEDALLION_DEDUPLICATE": "versions",
    "MEDALLION_ON_DATA_LOSS": "fail",
    "MEDALLION_BATCH_HANG_MINUTES": "10",
    "MEDALLION_REJECT_UNKNOWN_FIELDS": "false",
    "MEDALLION_ALERT_TO": "data-team@medallion.example",
    "MEDALLION_CHURN_SOURCE": str(layout.TELCO),
    "MEDALLION_CHURN_USERNAME": "",
    "MEDALLION_CHURN_PASSWORD": "",
    "MEDALLION_GOLD_LOCAL_ROWS": "",
    "MEDALLION_ALERT_WEBHOOK": "",
    "MEDALLION_ALERT_WEBHOOK_FORMAT": "slack",
    "MEDALLION_DATA_DOCS_URL": "",
    **{
        one.name: one.default or ""
        for section in (LimitSettings, MonitorSettings, WatchSettings, KeepSettings, PageSettings)
        for name, one in section.declarations()
        if name not in ("canary_maildir", "airflow_dsn")  # the stack's own sink and database
    },
    "MEDALLION_CANARY_TO": "canary@medallion.example",
    "MEDALLION_DATASETS": "",
    **{one.name: one.default or "" for _, one in JobSettings.declarations()},
    **{one.name_for(name): "" for one in overridable().values() for name in dataset_names()},
}
NEVER_SHOWN = {*SECRET_SETTINGS, *(one.name for _, one in declarations() if one.is_secret)}


def chosen_settings(state: State) -> dict[str, str]:
    """What the environment chooses, else what an earlier start chose, else the default; no empty ones."""
    earlier = state.read_settings()
    chosen = {name: os.environ.get(name) or earlier.get(name) or CHOICES[name] for name in CHOICES}
    return {name: value for name, value in chosen.items() if value}
