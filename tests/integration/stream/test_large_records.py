"""Records as large as a topic takes, many of them in one micro-batch, on an executor of 2 GiB."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest
from deltalake import DeltaTable
from fault.drivers import Drivers
from fault.records import Record, send

from kafka_log import event
from medallion_contracts.judge import MOST_UNKNOWN
from medallion_spark.stream.batch_writer import MOST_NAMES
from process_memory import peak_of
from services import BrokerServer, SparkServers

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]

MEGABYTE = 1_000_000
FRAMING = 5_000


def worked_off(broker: BrokerServer, folder: Path, records: Iterator[Record], count: int) -> Drivers:
    """Send the records, and let one driver with one executor work them off in one micro-batch."""
    sent = 0
    while part := list(islice(records, 200)):
        sent += send(broker.bootstrap, iter(part))
    assert sent == count
    spark = SparkServers(folder / "spark")
    spark.start()
    drivers = Drivers(
        folder / "lake",
        broker.bootstrap,
        ("--trigger-seconds=0", f"--max-offsets-per-trigger={2 * count}"),
        spark.cluster.master_url,
        {
            "spark.executor.memory": "2g",
            "spark.executor.cores": "2",
            "spark.cores.max": "2",
            "spark.task.maxFailures": "1",
        },
    )
    drivers.patience_seconds = 1800
    try:
        with peak_of("pyspark.daemon", str(folder)) as workers:
            drivers.start()
            drivers.catch_up_and_stop()
    finally:
        spark.stop()
    print(f"\n{count:,} records: Python workers held at most {workers.mebibytes:,.0f} MiB together")
    assert 0 < workers.mebibytes < 1024
    return drivers


def test_three_thousand_records_of_a_megabyte_are_one_batch_on_two_gibibytes(
    own_broker: BrokerServer, tmp_path: Path
) -> None:
    now = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    noise = random.Random(1).randbytes((MEGABYTE - FRAMING) // 2).hex()

    def records() -> Iterator[Record]:
        for number in range(3_000):
            customer = f"c{number}"
            tenure = -1 if number % 3 == 0 else 3  # a third of them goes to quarantine as well
            whole = event(customer, updated_at=now, tenure=tenure, noise=f"{number}{noise}")
            yield customer.encode(), json.dumps(whole).encode(), []

    drivers = worked_off(own_broker, tmp_path, records(), 3_000)
    [row] = DeltaTable(drivers.paths.ledger).to_pyarrow_table().to_pylist()
    assert (row["read"], row["silver"], row["rejected"]) == (3_000, 2_000, 1_000)
    print(f"one batch of 3 GB in {row['duration_seconds']:.0f} s")


def test_any_number_of_unknown_fields_is_counted_within_bounds(
    own_broker: BrokerServer, tmp_path: Path
) -> None:
    now = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()

    def records() -> Iterator[Record]:
        for number in range(1_000):
            customer = f"c{number}"
            many = {f"{number}-{field}": 1 for field in range(70_000)}
            whole = {**event(customer, updated_at=now), **many}
            value = json.dumps(whole, separators=(",", ":")).encode()
            assert MEGABYTE // 2 < len(value) < 1_040_000
            yield customer.encode(), value, []

    drivers = worked_off(own_broker, tmp_path, records(), 1_000)
    [row] = DeltaTable(drivers.paths.ledger).to_pyarrow_table().to_pylist()
    assert (row["read"], row["silver"], row["with_unknown_fields"]) == (1_000, 1_000, 1_000)
    assert len(row["unknown_fields"]) == MOST_NAMES < MOST_UNKNOWN
