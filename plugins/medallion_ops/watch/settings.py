"""The settings of the watcher outside Airflow; read with all others by `medallion_ops.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from medallion_ops import setting_fields as f
from medallion_store.secret import Secret


@dataclass(frozen=True)
class WatchSettings(f.Section):
    """What the watcher asks, and when it notifies people."""

    TITLE: ClassVar[str] = "Watcher"

    airflow_url: str | None = f.setting(
        "WATCH_AIRFLOW_URL",
        f.http_url,
        "address of Airflow's API server as the watcher reaches it; none: MEDALLION_AIRFLOW_URL",
        example="http://airflow-api-server:8080",
    )
    silence_seconds: int = f.setting(
        "WATCH_SILENCE_SECONDS",
        partial(f.whole_number, at_least=30, at_most=86_400),
        "what Airflow, its processes, the monitor or Postgres may be silent before people are notified",
        default="180",
        example="300",
    )
    smtp: Secret | None = f.setting(
        "WATCH_SMTP",
        f.secret,
        "the watcher's mail server in the form of an Airflow connection (JSON or URI); none: "
        "AIRFLOW_CONN_SMTP_DEFAULT",
    )
    ping: Secret | None = f.setting(
        "WATCH_PING",
        f.secret_url,
        "address that the watcher calls each minute while all is well: a dead-man's switch notices its end",
        example="https://hc-ping.com/...",
    )
