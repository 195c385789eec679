"""The settings of the page; read with all others by `medallion_ops.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from medallion_ops import setting_fields as f
from medallion_store.secret import Secret


@dataclass(frozen=True)
class PageSettings(f.Section):
    """What the page in Airflow needs beyond what it shows."""

    TITLE: ClassVar[str] = "Page"

    metrics_token: Secret | None = f.setting(
        "METRICS_TOKEN",
        f.secret,
        "token with which Prometheus reads `/medallion/metrics`; none, no one does",
    )
