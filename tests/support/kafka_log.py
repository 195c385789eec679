"""Hand-made Kafka records, micro-batches of them, and what the lake holds afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from further_fields import further_fields
from medallion_contracts.model import Dataset
from medallion_spark.lake.tables import stream_tables
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream.batch import MicroBatches
from medallion_spark.stream.ledger import KnownLog, Ledger, LedgerRow
from medallion_spark.stream.log_acceptance import acceptance_row
from medallion_spark.stream.log_identity import LogChange, LogId
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.planned_offsets import Plan
from medallion_spark.stream.topic_log import TopicLog, Where
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
KAFKA_SCHEMA = (
    "key binary, value binary, topic string, partition int, offset long, timestamp timestamp, "
    "timestampType int, headers array<struct<key: string, value: binary>>"
)
Coordinates = tuple[Any, ...]
"""Topic, partition, offset, and the incarnation where it is not 0."""
Verdict = tuple[str, tuple[str, ...]]


def event(customer: str = "7590-VHVEG", minute: float = 0, **changes: object) -> dict[str, object]:
    """A good event of a customer, so many minutes after noon; `...` leaves a field out."""
    whole: dict[str, object] = {
        "customer_id": customer,
        "gender": "Female",
        "senior_citizen": False,
        "partner": True,
        "dependents": False,
        "tenure": 3,
        "phone_service": False,
        "internet_service": "DSL",
        "contract": "Month-to-month",
        "monthly_charges": 29.85,
        "total_charges": "89.55",
        "updated_at": (NOON + timedelta(minutes=minute)).isoformat(),
        "first_name": "Ada",
        "last_name": "Lovelace",
        "email": "ada@example.org",
    }
    whole = {**whole, **further_fields(whole), **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def coordinates_of(row: Mapping[str, Any], prefix: str = "") -> Coordinates:
    """Where the record of a row of the lake was."""
    where = (row[f"{prefix}topic"], row[f"{prefix}partition"], row[f"{prefix}offset"])
    return (*where, row["_incarnation"]) if row["_incarnation"] else where


@dataclass(frozen=True)
class Record:
    """One record of a Kafka log; a dict is sent as JSON with its customer as key."""

    offset: int
    value: bytes | None
    key: bytes | None = b"7590-VHVEG"
    topic: str = "customers"
    partition: int = 0
    timestamp: datetime = NOON + timedelta(days=1)
    timestamp_type: int = 1
    headers: tuple[tuple[str, bytes | None], ...] | None = None

    @property
    def coordinates(self) -> Coordinates:
        """Where it is in Kafka."""
        return self.topic, self.partition, self.offset


def log_of(
    values: Iterable[Mapping[str, object] | bytes | None], *, first_offset: int = 0, **where: Any
) -> list[Record]:
    """The values as consecutive records of one partition."""
    return [_record(first_offset + number, value, where) for number, value in enumerate(values)]


def _record(offset: int, value: Mapping[str, object] | bytes | None, where: Mapping[str, Any]) -> Record:
    if isinstance(value, bytes | None):
        return Record(offset, value, **where)
    key = {"key": str(value.get("customer_id")).encode(), **where}
    return Record(offset, json.dumps(value).encode(), **key)


def frame_of(spark: SparkSession, records: Sequence[Record]) -> DataFrame:
    """The records as Spark's Kafka source gives them: one task a partition, in the order of offsets."""
    groups: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
    for record in sorted(records, key=lambda r: r.coordinates):
        # Only what a Row needs crosses to the workers: they do not know this module.
        row = (
            record.key,
            record.value,
            *record.coordinates,
            record.timestamp,
            record.timestamp_type,
            None if record.headers is None else list(record.headers),
        )
        groups.setdefault((record.topic, record.partition), []).append(row)
    if not groups:
        return spark.createDataFrame([], KAFKA_SCHEMA)
    tasks = spark.sparkContext.parallelize(list(groups.values()), len(groups))
    return spark.createDataFrame(tasks.flatMap(list), KAFKA_SCHEMA)


def _plan_of(records: Sequence[Record]) -> Plan:
    """A plan that begins and ends with the records of each partition."""
    offsets: dict[Where, list[int]] = {}
    for record in records:
        offsets.setdefault((record.topic, record.partition), []).append(record.offset)
    return {where: range(min(its), max(its) + 1) for where, its in offsets.items()}


@dataclass
class HandMadeLog:
    """The broker's side of hand-made records: `first_kept` by partition, and where there are records."""

    first_kept: dict[int, int] = field(default_factory=dict)
    records: dict[Where, set[int]] = field(default_factory=dict)
    compacted: bool = False

    def starts(self, topic: str) -> Mapping[int, int]:
        """See TopicLog."""
        return {partition: self.first_kept.get(partition, 0) for partition in range(100)}

    def is_compacted(self, topic: str) -> bool:
        """See TopicLog."""
        return self.compacted

    def first_record(self, where: Where, offsets: range) -> int | None:
        """See TopicLog."""
        return min((offset for offset in self.records.get(where, ()) if offset in offsets), default=None)


class TestLake:
    """A lake in a folder or in Azure, written by the product's micro-batches."""

    __test__ = False

    def __init__(
        self,
        spark: SparkSession,
        lake: Path | LakeAccess,
        dataset: Dataset,
        *,
        topic_log: TopicLog | None = None,
        **options: Any,
    ) -> None:
        self.spark = spark
        self.dataset = dataset
        self.access = LakeAccess(str(lake)) if isinstance(lake, Path) else lake
        self.storage = delta_storage_options(self.access.login)
        self.paths = LakePaths(self.access.uri, dataset.name)
        self.tables = stream_tables(self.paths, dataset, self.access)
        self.ledger = Ledger(self.paths.ledger, self.storage)
        self.tables.prepare()
        self.ledger.prepare()
        self.clock = NOON + timedelta(days=1)
        self.log = HandMadeLog()
        self.topic_log: TopicLog = topic_log or self.log
        self.planned: Plan | None = None
        self.next_batch = 0
        self.restart(**options)

    def restart(self, dataset: Dataset | None = None, query_id: str = "query", **options: Any) -> None:
        """As after a crash: a new driver that knows only what the lake holds."""
        self.batches = MicroBatches(
            self.spark,
            dataset or self.dataset,
            StreamOptions(**options),
            self.tables,
            self.ledger,
            query_id,
            log=self.topic_log,
            plan=lambda *_: self.planned,
            guard=lambda: None,
            clock=lambda: self.clock,
        )

    def accept_another_log(self, **seen: int) -> None:
        """The topic `customers` was made again, and a person has accepted that; `seen` ends by p0, p1, ..."""
        carried = self.ledger.carried()
        known = carried.logs.get("customers", KnownLog("customers"))
        change = LogChange(known, LogId("cluster", f"log-{known.incarnation + 1}"), "its topic id is another")
        ends = {("customers", int(name[1:])): end for name, end in seen.items()}
        begins = {where: self.log.first_kept.get(where[1], 0) for where in carried.sources}
        self.ledger.append(acceptance_row(carried, [change], ends, begins, "hash"))
        self.log.records.clear()

    def send(
        self, records: Sequence[Record], *, batch_id: int | None = None, planned: Plan | None = None
    ) -> LedgerRow | None:
        """Process the records as the next micro-batch (or as `batch_id`, again), planned so."""
        number = self.next_batch if batch_id is None else batch_id
        self.planned = _plan_of(records) if planned is None else planned
        for record in records:
            self.log.records.setdefault((record.topic, record.partition), set()).add(record.offset)
        row = self.batches.process(frame_of(self.spark, records), number)
        self.next_batch = number + 1
        return row

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of `bronze`, `silver`, `quarantine` or `ledger`."""
        log = DeltaTable(getattr(self.paths, table), storage_options=self.storage)
        found: list[dict[str, Any]] = log.to_pyarrow_table().to_pylist()
        return found

    def verdicts(self) -> dict[Coordinates, Verdict]:
        """Verdict and reasons of every record, from bronze."""
        rows = self.rows("bronze")
        found = {coordinates_of(row): (row["verdict"], tuple(row["reasons"])) for row in rows}
        assert len(found) == len(rows), "a record is in bronze twice"
        return found

    def check(self) -> None:
        """Silver and quarantine hold exactly the rows of their verdicts, each once; the ledger balances."""
        wanted: dict[str, set[Coordinates]] = {"silver": set(), "quarantine": set()}
        for where, (verdict, _) in self.verdicts().items():
            if verdict != "duplicate":
                wanted["silver" if verdict == "silver" else "quarantine"].add(where)
        silver = [coordinates_of(row, "_") for row in self.rows("silver")]
        quarantine = [coordinates_of(row) for row in self.rows("quarantine")]
        assert sorted(silver) == sorted(wanted["silver"])
        assert sorted(quarantine) == sorted(wanted["quarantine"])
        for row in self.rows("ledger"):
            assert row["read"] == row["silver"] + row["duplicate"] + row["late"] + row["rejected"]
