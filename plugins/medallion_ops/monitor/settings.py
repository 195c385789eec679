"""The settings of the monitor; read with all others by `medallion_ops.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from medallion_ops import setting_fields as f

POOL = "monitor"
"""A pool of one slot in Airflow: the monitor runs while every other slot is taken."""


@dataclass(frozen=True)
class MonitorSettings(f.Section):
    """What the monitor takes for a problem, beyond the contracts' service levels."""

    TITLE: ClassVar[str] = "Monitor"

    heartbeat_seconds: int = f.setting(
        "HEARTBEAT_LIMIT_SECONDS",
        partial(f.whole_number, at_least=30, at_most=86_400),
        "the stream is silent after this many seconds without a heartbeat",
        default="120",
        example="60",
    )
    batch_idle_minutes: int = f.setting(
        "BATCH_IDLE_LIMIT_MINUTES",
        partial(f.whole_number, at_least=1, at_most=1_440),
        "a micro-batch of which no Spark task has finished for longer is an incident",
        default="5",
        example="3",
    )
    gold_run_minutes: int = f.setting(
        "GOLD_RUN_LIMIT_MINUTES",
        partial(f.whole_number, at_least=1, at_most=1_440),
        "a gold run that takes longer, a question to people not counted, is an incident",
        default="30",
        example="60",
    )
    disk_free_percent: int = f.setting(
        "DISK_FREE_PERCENT",
        partial(f.whole_number, at_least=0, at_most=100),
        "a disk with less free space is an incident",
        default="5",
        example="10",
    )
    expiry_days: int = f.setting(
        "EXPIRY_DAYS",
        partial(f.whole_number, at_least=0, at_most=365),
        "certificates that expire within so many days are an incident",
        default="14",
        example="30",
    )
    outbox_minutes: int = f.setting(
        "OUTBOX_LIMIT_MINUTES",
        partial(f.whole_number, at_least=0, at_most=1_440),
        "alerts that wait longer for a mail server or webhook are an incident",
        default="15",
        example="5",
    )
    service_levels: tuple[tuple[str, float], ...] = f.setting(
        "SERVICE_LEVELS",
        f.numbers_by_name,
        "service levels instead of the contracts', in seconds or percent: silver_freshness, gold_freshness, "
        "latency, expected_interval, quarantine_percent, completeness_percent",
        default="",
        example="customers.gold_freshness=3600,customers.quarantine_percent=5",
    )
