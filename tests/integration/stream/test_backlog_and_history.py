"""Much at once: a backlog of millions with executors of 2 GiB, five years of history in hour partitions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from deltalake import DeltaTable
from fault.checker import check, read_lake
from fault.drivers import TOPICS, Drivers
from fault.records import Record, send
from fault.topic_log import read_topics

from medallion_contracts.loader import load_dataset
from services import BrokerServer, SparkServers

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]

BACKLOG = 5_000_000
CUSTOMERS = 7_043
UNSORTED = 1_000_000


def versions(count: int, start: datetime, span: timedelta) -> Iterator[Record]:
    """So many versions of customers, evenly over the span, in the order of time."""
    for number in range(count):
        customer = f"{number % 1_000_003:07}"
        moment = start + span * (number / count)
        yield customer.encode(), _value(customer, moment), []


def _value(customer: str, moment: datetime) -> bytes:
    return (
        f'{{"customer_id":"{customer}","gender":"Female","senior_citizen":false,"partner":true,'
        '"dependents":false,"tenure":12,"phone_service":true,"internet_service":"DSL",'
        '"contract":"One year","monthly_charges":"70.35","total_charges":"844.20",'
        f'"updated_at":"{moment.isoformat()}","first_name":"Ada","last_name":"Lovelace",'
        f'"email":"{customer}@example.org"}}'
    ).encode()


def test_a_backlog_of_millions_is_worked_off_within_two_gibibytes(
    own_broker: BrokerServer, tmp_path: Path
) -> None:
    start = datetime.now(UTC) - timedelta(hours=6)
    assert send(own_broker.bootstrap, versions(BACKLOG, start, timedelta(hours=5))) == BACKLOG
    spark = SparkServers(tmp_path / "spark")
    spark.start()
    try:
        drivers = Drivers(
            tmp_path / "lake",
            own_broker.bootstrap,
            ("--trigger-seconds=0",),
            spark.cluster.master_url,
            {"spark.executor.memory": "2g", "spark.executor.cores": "2", "spark.cores.max": "2"},
        )
        drivers.start()
        drivers.patience_seconds = 1800
        drivers.catch_up_and_stop()
    finally:
        spark.stop()
    ledger = read_lake(drivers.paths, with_values=False).ledger.sort_values("sequence")
    seconds = (ledger["committed_at"].max() - ledger["started_at"].min()).total_seconds()
    durations = list(ledger["duration_seconds"])
    print(
        f"\nbacklog: {BACKLOG:,} records in {len(ledger)} batches, {seconds:.0f} s: "
        f"{BACKLOG / seconds:,.0f} records/s; a batch {min(durations):.1f} to {max(durations):.1f} s"
    )
    assert ledger["silver"].sum() == ledger["read"].sum() == BACKLOG
    silver = DeltaTable(drivers.paths.silver).to_pyarrow_table(columns=["_partition", "_offset"])
    where = silver["_partition"].to_numpy().astype(np.int64) << 40 | silver["_offset"].to_numpy()
    assert len(np.unique(where)) == len(where) == BACKLOG
    assert "ExecutorLostFailure" not in drivers.log.read_text()
    half = len(durations) // 2
    assert median(durations[half:]) < 1.5 * median(durations[2:half]), "later batches take no longer"


def test_five_years_of_history_load_into_thousands_of_hours(own_broker: BrokerServer, tmp_path: Path) -> None:
    start = datetime.now(UTC) - timedelta(days=5 * 365)
    chance = random.Random(1)
    moments = sorted(start + timedelta(days=5 * 365) * chance.random() for _ in range(CUSTOMERS))
    customers = [f"{number:04}" for number in range(CUSTOMERS)]
    records = zip(customers, moments, strict=True)
    send(own_broker.bootstrap, ((name.encode(), _value(name, moment), []) for name, moment in records))
    drivers = Drivers(tmp_path / "lake", own_broker.bootstrap, ("--trigger-seconds=0", "--lateness=accept"))
    drivers.start()
    drivers.catch_up_and_stop()
    lake = read_lake(drivers.paths)
    report = check(read_topics(own_broker.bootstrap, TOPICS), lake, load_dataset("customers"))
    hours = len(lake.silver[["year", "month", "day", "hour"]].drop_duplicates())
    print(
        f"\nhistory: {CUSTOMERS:,} rows in {hours:,} hours, {lake.ledger['duration_seconds'].sum():.0f} s "
        f"in {len(lake.ledger)} batches"
    )
    assert report.is_clean, report
    assert (lake.ledger["silver"].sum(), lake.ledger["late"].sum()) == (CUSTOMERS, 0)


def test_an_unsorted_history_costs_each_batch_the_same(own_broker: BrokerServer, tmp_path: Path) -> None:
    span = timedelta(days=5 * 365)
    start = datetime.now(UTC) - span
    chance = random.Random(2)
    customers = (f"{number % 200_000:06}" for number in range(UNSORTED))
    moments = (start + span * chance.random() for _ in range(UNSORTED))
    records = zip(customers, moments, strict=True)
    send(own_broker.bootstrap, ((name.encode(), _value(name, moment), []) for name, moment in records))
    spark = SparkServers(tmp_path / "spark")
    spark.start()
    try:
        drivers = Drivers(
            tmp_path / "lake",
            own_broker.bootstrap,
            ("--trigger-seconds=0", "--lateness=accept", "--max-offsets-per-trigger=200000"),
            spark.cluster.master_url,
            {"spark.executor.memory": "2g", "spark.executor.cores": "2", "spark.cores.max": "2"},
        )
        drivers.patience_seconds = 3000
        drivers.start()
        drivers.catch_up_and_stop()
    finally:
        spark.stop()
    ledger = read_lake(drivers.paths, with_values=False).ledger.sort_values("sequence")
    durations = [round(seconds) for seconds in ledger["duration_seconds"]]
    files = len(DeltaTable(drivers.paths.silver).file_uris())
    print(f"\nunsorted history: {UNSORTED:,} rows, {files:,} files; seconds a batch: {durations}")
    assert ledger["silver"].sum() + ledger["duplicate"].sum() == UNSORTED
    hours = 5 * 365 * 24 + 1
    assert files <= hours * len(ledger) * 1.1, "each batch writes an hour once"
    assert durations[-1] < 1.3 * median(durations[1:]), "later batches take no longer"
