"""The tasks of lake_maintenance that keep things within limits, apart from its wiring."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk.exceptions import AirflowSkipException

from medallion_ops.gate.docs_location import dataset_folder
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.keep_settings import KeepSettings
from medallion_ops.spark.job_folder import delete_abandoned_folders
from medallion_ops.upkeep.airflow_tables import clean_airflow_tables
from medallion_ops.upkeep.audit_rows import delete_old_rows
from medallion_ops.upkeep.folders import delete_old_data_docs, delete_old_files

log = logging.getLogger(__name__)


def clean_audit(dataset: str) -> dict[str, int]:
    """Delete old rows about gold; gives how many, by what they are."""
    gold, keep = GoldSettings.from_environment(), KeepSettings.from_environment()
    return dict(delete_old_rows(gold.dsn, dataset, keep, datetime.now(UTC)))


def clean_files(dataset: str) -> dict[str, int]:
    """Delete old task logs, Data Docs, and folders of jobs that were killed; gives how many."""
    from airflow.configuration import conf

    gold, keep = GoldSettings.from_environment(), KeepSettings.from_environment()
    now = datetime.now(UTC)
    logs = Path(conf.get("logging", "base_log_folder"))
    return {
        "logs": delete_old_files(logs, now - timedelta(days=keep.log_days)),
        "data_docs": delete_old_data_docs(
            gold.data_docs_dir / dataset_folder(dataset), now - timedelta(days=keep.data_docs_days)
        )
        if gold.data_docs_dir
        else 0,
        "job_folders": delete_abandoned_folders(),
    }


def clean_airflow() -> None:
    """Delete old rows of Airflow's own tables.

    Raises:
        AirflowSkipException: The settings do not say where they are.
    """
    keep = KeepSettings.from_environment()
    if keep.airflow_dsn is None:
        raise AirflowSkipException("MEDALLION_AIRFLOW_DSN is not set: Airflow's tables are left as they are")
    clean_airflow_tables(keep.airflow_dsn, datetime.now(UTC) - timedelta(days=keep.airflow_days))
