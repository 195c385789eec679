"""Drivers killed between any two writes of a micro-batch: nothing lost, nothing twice, the balance closed."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault.checker import Report, check, read_lake
from fault.drivers import TOPICS, Crash, Drivers
from fault.findings import FaultTable
from fault.records import mixed_records, send
from fault.topic_log import read_topics

from medallion_contracts.loader import load_dataset
from services import BrokerServer

DATASET = load_dataset("customers")
POINTS = ("bronze", "silver", "quarantine", "ledger")
SIGNALS = ("KILL", "TERM")
FEW = [Crash("after", "bronze"), Crash("after", "ledger", "TERM")]
EVERY = [
    *(
        Crash(side, point, how)
        for how in ("KILL", "TERM")
        for point in POINTS
        for side in ("before", "after")
    ),
    *(Crash("after", "checkpoint", how) for how in ("KILL", "TERM")),
]


@pytest.mark.timeout(900)
def test_a_driver_killed_between_writes(
    own_broker: BrokerServer, tmp_path: Path, fault_table: FaultTable
) -> None:
    kill_one_after_the_other(FEW, own_broker, tmp_path, fault_table)


@pytest.mark.full
def test_a_driver_killed_at_every_point(
    own_broker: BrokerServer, tmp_path: Path, fault_table: FaultTable
) -> None:
    assert kill_one_after_the_other(EVERY, own_broker, tmp_path, fault_table) <= 60


def kill_one_after_the_other(
    crashes: list[Crash], broker: BrokerServer, folder: Path, table: FaultTable
) -> float:
    """Each driver first takes up the batch in which the one before it died, and dies in its second batch.

    Gives the longest time from a death to the next committed batch, in seconds.
    """
    drivers = Drivers(folder / "lake", broker.bootstrap)
    recovered: list[float] = []
    died, before = 0.0, 0
    for number, crash in enumerate([*crashes, None]):
        send(broker.bootstrap, mixed_records(1000, seed=number))
        drivers.start(crash)
        if number:
            recovered.append(drivers.wait_for_batch(before, died))
        if crash is not None:
            died, before = drivers.wait_for_death(), drivers.batches()
    drivers.catch_up_and_stop()
    report = read_back(drivers)
    for crash, seconds in zip(crashes, recovered, strict=True):
        table.add(f"driver: {crash}", report, seconds)
    assert report.is_clean, report
    return max(recovered)


def read_back(drivers: Drivers) -> Report:
    """Everything compared with the topics."""
    return check(read_topics(drivers.bootstrap, TOPICS), read_lake(drivers.paths), DATASET)
