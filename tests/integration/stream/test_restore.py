"""Each part of a lake from an older backup: refused with a remedy that works, or healed; never silent."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from fault.checker import check, read_lake
from fault.drivers import TOPICS, Drivers
from fault.records import mixed_records, send
from fault.topic_log import read_topics

from medallion_contracts.loader import load_dataset
from medallion_stack.layout import PROJECT
from medallion_store.lake_paths import LakePaths
from services import BrokerServer

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]

DATASET = load_dataset("customers")
RECOVER = "--recover-from-ledger"


@dataclass(frozen=True)
class Restored:
    """A lake one part of which is an hour older than the rest, and who works on it."""

    drivers: Drivers

    @property
    def paths(self) -> LakePaths:
        """Of the dataset."""
        return self.drivers.paths

    def rebuild(self) -> None:
        """The job of customers_rebuild, as-judged."""
        job = [
            sys.executable,
            str(PROJECT / "spark_jobs/rebuild_silver.py"),
            f"--lake-uri={self.drivers.lake}",
        ]
        job += ["--mode=as-judged", f"--run-id={uuid.uuid4()}"]
        done = subprocess.run(
            job, env=self.drivers.environment(), capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]


def nothing(_: Restored) -> tuple[str, ...]:
    return ()


def by_rebuild(lake: Restored) -> tuple[str, ...]:
    lake.rebuild()
    return ()


def by_recovery(_: Restored) -> tuple[str, ...]:
    return (RECOVER,)


def by_rebuild_and_recovery(lake: Restored) -> tuple[str, ...]:
    lake.rebuild()
    return (RECOVER,)


Remedy = Callable[[Restored], tuple[str, ...]]
CASES: tuple[tuple[str, bool, Remedy], ...] = (
    ("the lake", True, nothing),
    ("silver", False, by_rebuild),
    ("silver", True, by_rebuild),
    ("quarantine", False, by_rebuild),
    ("quarantine", True, by_rebuild),
    ("ledger", False, by_recovery),
    ("ledger", True, by_recovery),
    ("checkpoint", False, by_recovery),
    ("checkpoint", True, by_recovery),
    ("bronze", True, by_rebuild_and_recovery),
)
"""A part that is gone (False) or older (True), and the README's remedy; it gives the driver's arguments."""


@dataclass(frozen=True)
class Backups:
    """Two copies of one lake, an hour apart, the broker, and all records that it has by now."""

    broker: str
    older: Path
    newer: Path
    log: pd.DataFrame


@pytest.fixture(scope="module")
def backups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backups]:
    folder = tmp_path_factory.mktemp("backups")
    broker = BrokerServer(folder / "broker")
    try:
        broker.start()
        found = Backups(broker.bootstrap, folder / "older", folder / "newer", pd.DataFrame())
        drivers = Drivers(folder / "lake", broker.bootstrap)
        for copy, seed in ((found.older, 1), (found.newer, 2)):
            send(broker.bootstrap, mixed_records(1000, seed=seed))
            drivers.start()
            drivers.catch_up_and_stop()
            shutil.copytree(drivers.lake, copy)
        send(broker.bootstrap, mixed_records(200, seed=3))
        yield replace(found, log=read_topics(broker.bootstrap, TOPICS))
    finally:
        broker.stop()


@pytest.mark.parametrize(
    ("part", "is_older", "remedy"),
    CASES,
    ids=[f"{part} {'older' if is_older else 'gone'}" for part, is_older, _ in CASES],
)
def test_a_part_of_another_hour_heals_or_is_refused_with_a_remedy(
    backups: Backups, tmp_path: Path, part: str, is_older: bool, remedy: Remedy
) -> None:
    lake = restored(tmp_path / "lake", backups.newer, backups.older, part, is_older=is_older)
    work = Restored(Drivers(lake, backups.broker))
    try:
        if remedy is not nothing:
            work.drivers.start()
            work.drivers.wait_for_refusal()
            said = work.drivers.log.read_text()
            assert "control recover" in said or "customers_rebuild" in said or RECOVER in said
        arguments = remedy(work)
        work.drivers.start(None, *arguments)
        work.drivers.catch_up_and_stop()
    finally:
        work.drivers.end()
    report = check(backups.log, read_lake(work.paths), DATASET)
    print(f"{part}: lost {report.lost}, repeated {report.duplicated}, {report.findings or 'clean'}")
    assert report.is_clean, report


def restored(lake: Path, newer: Path, older: Path, part: str, *, is_older: bool) -> Path:
    """A copy of the newer lake with one part of the older one, or without it."""
    if part == "the lake":
        shutil.copytree(older, lake)
        return lake
    shutil.copytree(newer, lake)
    target, source = (Path(getattr(LakePaths(str(root), "customers"), part)) for root in (lake, older))
    shutil.rmtree(target)
    if is_older:
        shutil.copytree(source, target)
    return lake
