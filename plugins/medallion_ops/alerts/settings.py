"""The settings of alerts; read with all others by `medallion_ops.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from medallion_ops import setting_fields as f
from medallion_store.secret import Secret


@dataclass(frozen=True)
class AlertSettings(f.Section):
    """Who gets mail, and where its links lead."""

    TITLE: ClassVar[str] = "Alerts"

    to: tuple[str, ...] = f.setting(
        "ALERT_TO",
        f.mail_addresses,
        "recipients of alerts, separated by commas",
        example="data@example.com",
        required=True,
    )
    sender: str = f.setting(
        "ALERT_FROM",
        f.mail_address,
        "sender of alerts",
        default="medallion@localhost",
        example="medallion@example.com",
    )
    airflow_url: str | None = f.setting(
        "AIRFLOW_URL",
        f.http_url,
        "address under which people open Airflow",
        example="https://airflow.example.com",
    )
    outbox: Path | None = f.setting(
        "ALERT_OUTBOX",
        f.absolute_path,
        "folder for alerts that neither the mail server nor Postgres takes; they are sent later",
        example="/var/lib/medallion/outbox",
    )
    webhook: Secret | None = f.setting(
        "ALERT_WEBHOOK",
        f.secret_url,
        "address that gets every alert as JSON too",
        example="https://hooks.slack.com/services/...",
    )
    webhook_format: str = f.setting(
        "ALERT_WEBHOOK_FORMAT",
        partial(f.choice, of=("slack", "teams", "pagerduty")),
        "slack (Mattermost and others alike), teams, or pagerduty (its routing key as `?routing_key=`)",
        default="slack",
        example="teams",
    )
