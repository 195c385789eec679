"""Maintenance beside the running stream: no batch fails, no maintenance run fails, nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fault.checker import check, read_lake
from fault.drivers import TOPICS, Drivers
from fault.findings import FaultTable
from fault.topic_log import read_topics
from fault.trickle import Trickle

from medallion_contracts.loader import load_dataset
from services import BrokerServer

ROUNDS = Path(__file__).with_name("maintenance_rounds.py")


@pytest.mark.timeout(900)
def test_maintenance_beside_the_stream(
    own_broker: BrokerServer, tmp_path: Path, fault_table: FaultTable
) -> None:
    deleted = maintain(5, own_broker, tmp_path, fault_table)
    assert deleted > 0, "files were deleted beside the stream"


@pytest.mark.full
def test_fifty_rounds_of_maintenance_beside_the_stream(
    own_broker: BrokerServer, tmp_path: Path, fault_table: FaultTable
) -> None:
    maintain(50, own_broker, tmp_path, fault_table)


def maintain(rounds: int, broker: BrokerServer, folder: Path, table: FaultTable) -> int:
    """So many rounds while records keep coming; gives the number of files deleted."""
    # A batch now and then: the machine has time for maintenance too.
    arguments = ("--trigger-seconds=5", "--max-offsets-per-trigger=400")
    drivers = Drivers(folder / "lake", broker.bootstrap, arguments)
    with Trickle(broker.bootstrap):
        stream = drivers.start()
        drivers.wait_until(lambda: drivers.batches() >= 3)
        command = [sys.executable, str(ROUNDS), str(drivers.lake), str(rounds)]
        output, log = folder / "rounds.json", folder / "rounds.log"
        with output.open("wb") as numbers, log.open("wb") as said:
            done = subprocess.run(
                command, env=drivers.environment(), stdout=numbers, stderr=said, timeout=3000, check=False
            )
        assert done.returncode == 0, log.read_text()[-3000:]
        assert stream.poll() is None, f"the stream ended: see {drivers.log}"
    drivers.catch_up_and_stop()
    tables = [
        table
        for line in output.read_text().splitlines()
        if line.startswith("[")
        for table in json.loads(line)
    ]
    assert len(tables) >= 4 * rounds
    assert sum(upkeep["files_compacted"] for upkeep in tables) > rounds
    report = check(read_topics(broker.bootstrap, TOPICS), read_lake(drivers.paths), load_dataset("customers"))
    table.add(f"{rounds} rounds of maintenance beside the stream", report, None)
    assert report.is_clean, report
    assert "Traceback" not in drivers.log.read_text()
    return sum(int(upkeep["files_deleted"]) for upkeep in tables)
