"""The settings of the monitor; read with all others by `medallion_ops.settings`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import ClassVar

from medallion_contracts.loader import dataset_names
from medallion_ops import setting_fields as f

POOL = "monitor"
"""A pool of one slot in Airflow: the monitor runs while every other slot is taken."""

LEVELS = (
    "silver_freshness",
    "gold_freshness",
    "latency",
    "quarantine_percent",
    "completeness_percent",
    "retention",
    "expected_interval",
)
"""Names of the service levels that MEDALLION_SERVICE_LEVELS may set."""


def _service_levels(value: str) -> tuple[tuple[str, float], ...]:
    """`<dataset>.<level>=number`, several separated by commas: any other name would change nothing."""
    levels = f.numbers_by_name(value)
    known = {f"{dataset}.{level}" for dataset in dataset_names() for level in LEVELS}
    for name, _ in levels:
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            raise ValueError(
                "must name <dataset>.<level> of "
                f"{', '.join(dataset_names())} and {', '.join(LEVELS)}"
                + (f"; {close[0]} is meant?" if close else "")
            )
    return levels


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
        "certificates, and secrets of MEDALLION_SECRETS_EXPIRE, that end within so many days are an incident",
        default="14",
        example="30",
    )
    secrets_expire: tuple[tuple[str, date], ...] = f.setting(
        "SECRETS_EXPIRE",
        f.dates_by_name,
        "when secrets end that do not say so themselves, such as a service principal's",
        default="",
        example="client secret of the lake=2027-03-01,SAS of the broker=2027-06-30",
    )
    outbox_minutes: int = f.setting(
        "OUTBOX_LIMIT_MINUTES",
        partial(f.whole_number, at_least=0, at_most=1_440),
        "alerts that wait longer for a mail server or webhook are an incident",
        default="15",
        example="5",
    )
    runbook_url: str | None = f.setting(
        "RUNBOOK_URL",
        f.link,
        "address of the runbook's page that mails link to, as `<address>#<code>`; none: the page in Airflow",
        example="https://git.example.com/medallion/plugins/medallion_ops/monitor/runbook.md",
    )
    canary_to: str | None = f.setting(
        "CANARY_TO",
        f.mail_address,
        "recipient of a mail a day that proves the way to the mail server; none: no such mail",
        example="medallion-canary@example.com",
    )
    canary_maildir: Path | None = f.setting(
        "CANARY_MAILDIR",
        f.absolute_path,
        "Maildir of that recipient, where it can be read: the mail must show up there too",
        example="/var/mail/canary",
    )
    service_levels: tuple[tuple[str, float], ...] = f.setting(
        "SERVICE_LEVELS",
        _service_levels,
        "service levels instead of the contracts', in seconds or percent: silver_freshness, gold_freshness, "
        "latency, retention (of the topic), expected_interval, quarantine_percent, completeness_percent",
        default="",
        example="customers.gold_freshness=3600,customers.quarantine_percent=5",
    )
