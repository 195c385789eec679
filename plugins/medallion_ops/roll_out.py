"""Brings this code's contracts and code to a running platform: gold's tables, then the stream.

`make roll-out` does it whole on the stack without Docker (job files, Airflow, then this). Elsewhere it is the
last step of a deploy, after Airflow and the job files have the new code: `python -m medallion_ops.roll_out`.

Crash points: it refuses before anything is changed; migrations are one transaction; a stop request that it
left behind is its own, so the same command again goes on from there.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medallion_contracts.errors import MedallionError, StreamError
from medallion_contracts.loader import dataset_names, load_dataset
from medallion_ops.contracts.effects import described
from medallion_ops.contracts.in_force import note_in_force, refuse_breaking_change
from medallion_ops.control import StreamControl
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.lake_settings import LakeSettings
from medallion_ops.migrations.runner import migrate
from medallion_ops.settings import Settings
from medallion_store.control_files import control_files
from medallion_store.heartbeat import STARTING, is_sign_of_life
from medallion_store.lake_paths import LakePaths
from medallion_store.release import release
from medallion_store.utc_time import age_seconds, parse_utc

OWNER = "roll-out"
_POLL_SECONDS = 1.0
_MOST_SECONDS = 1800.0
"""The driver ends after its micro-batch, which may be a large one."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HandOver:
    """From one driver of the stream to the next; `gap_seconds` is from the one's end to the other's work."""

    driver_id: str | None
    gap_seconds: float


def check(settings: Settings, datasets: Sequence[str]) -> list[str]:
    """What the contracts change, before anything is done; returns the lines of the plan.

    Raises:
        BreakingChange: something that no one has accepted.
    """
    return [
        line for dataset in datasets for line in described(refuse_breaking_change(settings.gold.dsn, dataset))
    ]


def bring_gold_forward(settings: Settings, dataset: str) -> list[str]:
    """Migrate gold, and keep the contracts it now runs on; returns what was done."""
    done = migrate(settings.gold.dsn, load_dataset(dataset))
    note_in_force(settings.gold.dsn, dataset)
    return list(done)


def hand_over_stream(
    lake: LakeSettings, dataset: str, most_seconds: float = _MOST_SECONDS
) -> HandOver | None:
    """Let another driver take over from the one that runs; None when none runs, so the next is a new one.

    Raises:
        LeaseError: another's stop request stands.
        StreamError: no driver of this release works after `most_seconds`.
    """
    control = StreamControl(lake, dataset)
    files, path = control_files(lake.login), LakePaths(lake.uri, dataset).heartbeat
    before = files.read(path)
    was_left = control.release(OWNER)  # of a roll-out that was killed
    if is_sign_of_life(before):
        control.request_stop(OWNER)
        control.release(OWNER)
    elif not was_left:
        return None
    last = before or {}
    deadline = time.monotonic() + most_seconds
    while time.monotonic() < deadline:
        now = files.read(path) or {}
        if now.get("application_id") == (before or {}).get("application_id"):
            last = now
        elif _works(now):
            return HandOver(now.get("driver_id"), _seconds_between(last, now))
        time.sleep(_POLL_SECONDS)
    raise StreamError(
        f"no driver of release {release()} works on {dataset} after {most_seconds:.0f} s: see whether the "
        f"DAG {dataset}_streaming is paused, and what its log says; then the same command again"
    )


def _works(heartbeat: Mapping[str, Any]) -> bool:
    return (
        heartbeat.get("release") == release()
        and heartbeat.get("state") != STARTING
        and is_sign_of_life(heartbeat)
    )


def _seconds_between(old: Mapping[str, Any], new: Mapping[str, Any]) -> float:
    return round(age_seconds(old.get("at"), parse_utc(new.get("at"))) or 0.0, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when all parts run this code's contracts, 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.roll_out",
        description="After a deploy of new contracts or code: refuses what `python -m medallion_ops.plan` "
        "calls breaking, brings gold's tables forward, and lets a driver of the new code take over the "
        "stream. Safe to repeat.",
    )
    parser.add_argument(
        "--dataset",
        action="append",
        choices=dataset_names(),
        help="default: those that run (MEDALLION_DATASETS)",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        settings = Settings.from_environment()
        roll_out(settings, options.dataset or datasets_that_run())
    except MedallionError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def roll_out(settings: Settings, datasets: Sequence[str]) -> None:
    """Check, migrate and hand over, dataset by dataset.

    Raises:
        BreakingChange: before anything was done.
        StreamError: a stream was not taken over.
    """
    for line in check(settings, datasets):
        log.info("%s", line)
    for dataset in datasets:
        for line in bring_gold_forward(settings, dataset):
            log.info("gold: %s", line)
    for dataset in datasets:
        taken = hand_over_stream(settings.lake, dataset)
        if taken is None:
            log.info("the stream of %s does not run: its next driver has the new code", dataset)
        else:
            log.info(
                "the stream of %s: driver %s has taken over, %.1f s after the last sign of the one before",
                dataset,
                taken.driver_id,
                taken.gap_seconds,
            )


if __name__ == "__main__":
    sys.exit(main())
