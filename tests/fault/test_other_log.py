"""The topic deleted and made again, between two drivers and under one that works on it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from deltalake import DeltaTable
from fault.checker import check, read_lake
from fault.drivers import TOPICS, Crash, Drivers
from fault.findings import FaultTable
from fault.records import mixed_records, send
from fault.topic_log import read_topics
from kafka.admin import KafkaAdminClient, NewTopic

from medallion_contracts.loader import load_dataset
from medallion_ops.control import StreamControl
from services import BrokerServer
from settings_of_tests import settings

DATASET = load_dataset("customers")
RECORDS = 1000


def make_again(bootstrap: str) -> None:
    """Delete the topic and create it under its name."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.delete_topics([DATASET.topic])
        while DATASET.topic in admin.list_topics():
            pass
        log_append = {"message.timestamp.type": "LogAppendTime"}
        admin.create_topics([NewTopic(DATASET.topic, 4, 1, topic_configs=log_append)])
    finally:
        admin.close()


@pytest.mark.full  # `make test` has it within one process: tests/spark/test_other_log.py
@pytest.mark.timeout(900)
@pytest.mark.parametrize("when", ["stopped in a batch", "working"])
@pytest.mark.parametrize("sent_again", [400, 2000], ids=["fewer", "more"])
def test_a_topic_made_again_loses_what_is_counted_and_repeats_nothing(
    own_broker: BrokerServer, tmp_path: Path, fault_table: FaultTable, when: str, sent_again: int
) -> None:
    drivers = Drivers(tmp_path / "lake", own_broker.bootstrap)
    send(own_broker.bootstrap, mixed_records(RECORDS, seed=1))
    old = read_topics(own_broker.bootstrap, TOPICS)
    drivers.start(Crash("after", "bronze") if when != "working" else None)
    if when != "working":
        drivers.wait_for_death()
    else:
        drivers.wait_until(lambda: drivers.batches() > 0)
    make_again(own_broker.bootstrap)
    send(own_broker.bootstrap, mixed_records(sent_again, seed=2))
    if when != "working":
        drivers.start()
    # A working driver ends with 0 when it sees the other log, or with 1 when its source fails before that;
    # then the supervisor's next driver sees it.
    drivers.wait_for_refusal()
    drivers.start()
    drivers.wait_for_refusal()
    assert "another log is behind the same name" in drivers.log.read_text()
    before = drivers.batches()

    StreamControl(settings(LAKE_URI=str(drivers.lake), LAKE_AUTH="none").lake, DATASET.name).accept_log()
    drivers.start()
    drivers.catch_up_and_stop()
    assert drivers.batches() > before

    lake = read_lake(drivers.paths)
    taken = DeltaTable(drivers.paths.bronze).to_pyarrow_table(
        columns=["topic", "partition", "offset", "_incarnation"]
    )
    until = taken.to_pandas().query("_incarnation == 0").groupby(["topic", "partition"])["offset"].max()
    limit = [until.get((row.topic, row.partition), -1) for row in old.itertuples()]
    read, lost = old[old["offset"] <= limit], old[old["offset"] > limit]
    new = read_topics(own_broker.bootstrap, [DATASET.topic], incarnation=1)
    report = check(pd.concat([read, new], ignore_index=True), lake, DATASET)
    fault_table.add(f"topic made again ({sent_again} records) under a driver {when}", report, None)
    assert report.is_clean, report
    assert int(lake.ledger["lost"].sum()) == len(lost) > 0, "the true number"
