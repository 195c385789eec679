"""Every setting of the platform's Airflow side, section by section, as the environment has them.

A setting is declared once, in the module of its section, as a dataclass field with `f.setting(...)`: its
name, parser, default, example and description. `Settings.from_environment()` reads all of them and reports
every problem at once; a command that needs one service only reads that section, e.g.
`KafkaSettings.from_environment()`. The README's table is `settings_table()`.

Secrets are `Secret` objects: printing, logging or formatting one shows `***`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medallion_contracts.errors import SettingsError
from medallion_contracts.loader import dataset_names
from medallion_ops import setting_fields as f
from medallion_ops.alerts.settings import AlertSettings
from medallion_ops.dataset_settings import DatasetSettings
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.job_settings import JobSettings
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.keep_settings import KeepSettings
from medallion_ops.lake_settings import LakeSettings
from medallion_ops.limit_settings import LimitSettings
from medallion_ops.monitor.settings import MonitorSettings
from medallion_ops.page.settings import PageSettings
from medallion_ops.producer.settings import ProducerSettings
from medallion_ops.spark.settings import SparkSettings
from medallion_ops.stream_settings import StreamSettings
from medallion_ops.watch.settings import WatchSettings

SECTIONS: Mapping[str, type[f.Section]] = {
    "datasets": DatasetSettings,
    "kafka": KafkaSettings,
    "lake": LakeSettings,
    "spark": SparkSettings,
    "gold": GoldSettings,
    "producer": ProducerSettings,
    "stream": StreamSettings,
    "jobs": JobSettings,
    "alerts": AlertSettings,
    "limits": LimitSettings,
    "monitor": MonitorSettings,
    "watch": WatchSettings,
    "page": PageSettings,
    "keep": KeepSettings,
}


@dataclass(frozen=True)
class Settings:
    """All settings."""

    datasets: DatasetSettings
    kafka: KafkaSettings
    lake: LakeSettings
    spark: SparkSettings
    gold: GoldSettings
    producer: ProducerSettings
    stream: StreamSettings
    jobs: JobSettings
    alerts: AlertSettings
    limits: LimitSettings
    monitor: MonitorSettings
    watch: WatchSettings
    page: PageSettings
    keep: KeepSettings

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, dataset: str | None = None
    ) -> Settings:
        """Read every section.

        Args:
            environ: The environment.
            dataset: Whose values to take, where a dataset may have its own; None checks those of all.

        Raises:
            SettingsError: A setting is missing or not valid; lists all of them, across the sections.
        """
        problems: list[str] = []
        read: dict[str, Any] = {
            name: section.read(environ, problems, dataset) for name, section in SECTIONS.items()
        }
        problems.extend(problems_of_overrides(environ))
        if problems:
            raise SettingsError(f.SUBJECT, problems)
        return cls(**read)


def declarations() -> Iterator[tuple[str, f.Declaration]]:
    """Every setting with the title of its section, in the order of the README."""
    for section in SECTIONS.values():
        for _, declaration in section.declarations():
            yield section.TITLE, declaration


def overridable() -> dict[str, f.Declaration]:
    """Settings that a dataset may have values of its own for, by name."""
    sections = [section for section in SECTIONS.values() if section.PER_DATASET]
    return {one.name: one for section in sections for _, one in section.declarations()}


def problems_of_overrides(environ: Mapping[str, str]) -> Iterator[str]:
    """A name that no one reads changes nothing, in silence; a wrong value shows when its dataset runs."""
    known = {one.name for _, one in declarations()}
    given = {name: value.strip() for name, value in environ.items() if name not in known and value.strip()}
    for dataset in dataset_names():
        own = {one.name_for(dataset): one for one in overridable().values()}
        for name in sorted(name for name in given if name.startswith(f"MEDALLION_{dataset.upper()}_")):
            if name not in own:
                yield f"{name}: only these may differ by dataset: {', '.join(sorted(overridable()))}"
                continue
            try:
                own[name].parse(given[name])
            except ValueError as error:
                yield f"{name}: the value {error}"


def settings_table() -> str:
    """The README's table of settings, in Markdown."""
    own = overridable()
    lines = ["| setting | default | what it is | example |", "|---|---|---|---|"]
    for _, one in declarations():
        default = "**required**" if one.is_required else f"`{one.default}`" if one.default else "-"
        example = f"`{one.example}`" if one.example else "-"
        secret = " (secret)" if one.is_secret else " (by dataset)" if one.name in own else ""
        lines.append(f"| `{one.name}` | {default} | {one.description}{secret} | {example} |")
    return "\n".join(lines)
