"""The limits that observations are held against: service levels of the contracts, and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from medallion_contracts.model import Dataset, ServiceLevel
from medallion_ops.monitor.settings import MonitorSettings


@dataclass(frozen=True)
class ServiceLevels:
    """What a dataset's contracts promise; None where they promise nothing.

    Seconds, except percents. `retention` is how long the topic keeps records; `expected_hours` is a cron
    expression of the minutes in which events are expected, None for always.
    """

    silver_freshness: float | None = None
    gold_freshness: float | None = None
    latency: float | None = None
    quarantine_percent: float | None = None
    completeness_percent: float | None = None
    retention: float | None = None
    expected_interval: float | None = None
    expected_hours: str | None = None

    def expects_events(self, now: datetime) -> bool:
        """Whether the contract declares traffic for this moment (UTC)."""
        if self.expected_interval is None:
            return False
        if self.expected_hours is None:
            return True
        from croniter import croniter

        return bool(croniter.match(self.expected_hours, now.replace(second=0, microsecond=0)))

    @property
    def is_empty(self) -> bool:
        """Whether the contracts declare nothing at all."""
        return self == ServiceLevels()


def service_levels(dataset: Dataset, overrides: Mapping[str, float]) -> ServiceLevels:
    """The service levels of a dataset: the contracts', where no setting shortens them.

    Args:
        dataset: its contracts (`slaProperties`).
        overrides: seconds or percent by `<dataset>.<level>`, of MEDALLION_SERVICE_LEVELS.
    """
    events, silver = _levels(dataset.events.service_levels), _levels(dataset.silver.service_levels)
    gold = [_levels(table.service_levels).get("freshness") for table in dataset.gold.values()]
    expected = events.get("expected_interval")
    found: dict[str, float | None] = {
        "silver_freshness": _seconds(silver.get("freshness")),
        "gold_freshness": min((level.seconds for level in gold if level), default=None),
        "latency": _seconds(events.get("latency")),
        "quarantine_percent": _value(silver.get("quarantine_rate")),
        "completeness_percent": _value(silver.get("completeness")),
        "retention": _seconds(events.get("retention")),
        "expected_interval": _seconds(expected),
    }
    for name in found:
        found[name] = overrides.get(f"{dataset.name}.{name}", found[name])
    return ServiceLevels(**found, expected_hours=expected.schedule if expected else None)


def _levels(levels: tuple[ServiceLevel, ...]) -> dict[str, ServiceLevel]:
    return {level.name: level for level in levels}


def _seconds(level: ServiceLevel | None) -> float | None:
    return level.seconds if level else None


def _value(level: ServiceLevel | None) -> float | None:
    return level.value if level else None


@dataclass(frozen=True)
class Limits:
    """All limits: of each dataset by name, and of the platform."""

    levels: Mapping[str, ServiceLevels]
    settings: MonitorSettings
