"""Which datasets run here: all that have contracts, or those that a setting names."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from medallion_contracts.loader import dataset_names
from medallion_ops import setting_fields as f


def _datasets(value: str) -> tuple[str, ...]:
    """Names of datasets separated by commas."""
    names = tuple(sorted({name.strip() for name in value.split(",")} - {""}))
    known = dataset_names()
    if not names or not set(names) <= set(known):
        raise ValueError(f"must be names of datasets, separated by commas: {', '.join(known)}")
    return names


@dataclass(frozen=True)
class DatasetSettings(f.Section):
    """Which datasets have DAGs, topics and gold tables here."""

    TITLE: ClassVar[str] = "Datasets"

    names: tuple[str, ...] | None = f.setting(
        "DATASETS",
        _datasets,
        "datasets that run, separated by commas; none: all that have contracts",
        example="customers, subscriptions",
    )


def datasets_that_run(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Names of the datasets that run.

    Raises:
        SettingsError: MEDALLION_DATASETS names a dataset without contracts.
    """
    return DatasetSettings.from_environment(environ).names or dataset_names()


class _TakesArguments(Protocol):
    """A parser of the command line, or a group of its options."""

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """Declare an option."""


def add_dataset_argument(parser: _TakesArguments) -> None:
    """Declare `--dataset`: any that has contracts, by default the first that runs."""
    parser.add_argument(
        "--dataset",
        choices=dataset_names(),
        default=datasets_that_run()[0],
        help="dataset, by its contracts (default: %(default)s)",
    )
