"""The checkpoint deleted in the middle of a batch, another contract since, and everything sent once more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fault.checker import check, read_lake
from fault.drivers import TOPICS, Crash, Drivers
from fault.findings import FaultTable
from fault.records import Record, mixed_records, send
from fault.topic_log import read_topics

from medallion_contracts.loader import load_dataset
from medallion_stack.layout import PROJECT
from services import BrokerServer

DATASET = load_dataset("customers")


@pytest.mark.full  # `make test` recovers within one process: tests/spark/test_recovery.py
@pytest.mark.timeout(900)
def test_a_lost_checkpoint_loses_and_repeats_nothing(
    own_broker: BrokerServer, tmp_path: Path, fault_table: FaultTable
) -> None:
    drivers = Drivers(tmp_path / "lake", own_broker.bootstrap)
    checkpoint = Path(drivers.paths.checkpoint)
    send(own_broker.bootstrap, mixed_records(1000, seed=1))
    drivers.start(Crash("after", "bronze"))
    died = drivers.wait_for_death()
    before = drivers.batches()
    checkpoint.rename(tmp_path / "lost")

    drivers.start()
    drivers.wait_for_refusal()
    assert "--recover-from-ledger" in drivers.log.read_text()
    assert drivers.batches() == before

    # Since then the contract has got stricter: bronze's verdicts stand, but not every row can still be made.
    drivers.contracts = stricter_contracts(tmp_path / "contracts")
    drivers.start(None, "--recover-from-ledger")
    seconds = drivers.wait_for_batch(before, died)
    sent_again = send_again(own_broker.bootstrap)
    drivers.catch_up_and_stop()
    lake = read_lake(drivers.paths)
    report = check(read_topics(own_broker.bootstrap, TOPICS), lake, DATASET)
    fault_table.add("checkpoint lost in a batch, contract changed, all sent again", report, seconds)
    assert report.is_clean, report
    assert any("contract_changed" in reasons for reasons in lake.quarantine["reasons"])
    again = lake.bronze[lake.bronze["topic"] == "customers_replay"]
    assert len(again) == sent_again
    assert (again["verdict"] == "duplicate").sum() > 300

    # The old checkpoint comes back: its query is shut out.
    checkpoint.rename(tmp_path / "new")
    shutil.copytree(tmp_path / "lost", checkpoint)
    versions = sorted(Path(drivers.paths.bronze, "_delta_log").glob("*.json"))
    send(own_broker.bootstrap, mixed_records(10, seed=2))
    drivers.start()
    drivers.wait_for_refusal()
    assert "was ended by a recovery" in drivers.log.read_text()
    assert sorted(Path(drivers.paths.bronze, "_delta_log").glob("*.json")) == versions


def stricter_contracts(folder: Path) -> Path:
    """A copy of the contracts with a smaller largest tenure."""
    shutil.copytree(PROJECT / "expectations", folder, ignore=shutil.ignore_patterns("__pycache__"))
    events = folder / "medallion_contracts" / "customers" / "events.odcs.yaml"
    text = events.read_text()
    assert "maximum: 1200" in text
    events.write_text(text.replace("maximum: 1200", "maximum: 60"))
    return folder


def send_again(bootstrap: str) -> int:
    """Send each record of the topic once more, byte by byte, where lateness is not tested."""
    log = read_topics(bootstrap, ["customers"])
    records: zip[Record] = zip(log["key"], log["value"], log["headers"].map(list), strict=True)
    return send(bootstrap, records, topic="customers_replay")
