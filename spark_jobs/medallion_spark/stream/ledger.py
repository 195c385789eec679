"""The ledger: one row per micro-batch, always written last, and where the next batch takes up.

Rows are tiny, so `deltalake` appends them (some 20 ms; a Spark job takes a second).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from medallion_spark.lake.table_log import LOG_KEPT_A_WEEK, WITHOUT_CLEANUP, TableLog, set_properties

_MOMENT = pa.timestamp("us", tz="UTC")
_COUNTS = pa.map_(pa.string(), pa.int64())
SOURCE_TYPE = pa.struct(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("from_offset", pa.int64()),
        ("until_offset", pa.int64()),
        ("read", pa.int64()),
        ("gaps", pa.int64()),
        ("lost", pa.int64()),
        ("watermark", _MOMENT),
        ("compacted", pa.int64()),
    ]
)
COMMIT_TYPE = pa.struct([("table", pa.string()), ("version", pa.int64()), ("rows", pa.int64())])
LEDGER_SCHEMA = pa.schema(
    [
        ("sequence", pa.int64()),
        ("query_id", pa.string()),
        ("batch_id", pa.int64()),
        ("contract_hash", pa.string()),
        ("started_at", _MOMENT),
        ("committed_at", _MOMENT),
        ("duration_seconds", pa.float64()),
        ("is_derived", pa.bool_()),
        ("sources", pa.list_(SOURCE_TYPE)),
        ("read", pa.int64()),
        ("silver", pa.int64()),
        ("duplicate", pa.int64()),
        ("late", pa.int64()),
        ("rejected", pa.int64()),
        ("gaps", pa.int64()),
        ("lost", pa.int64()),
        ("rejected_by_reason", _COUNTS),
        ("unknown_fields", _COUNTS),
        ("with_unknown_fields", pa.int64()),
        ("key_mismatch", pa.int64()),
        ("commits", pa.list_(COMMIT_TYPE)),
        ("event_to_silver_p50", pa.float64()),
        ("event_to_silver_p95", pa.float64()),
        ("event_to_silver_max", pa.float64()),
        ("compacted", pa.int64()),
    ]
)


@dataclass(frozen=True)
class PartitionOffsets:
    """One Kafka partition after a batch.

    Offsets from `from_offset` up to, not including, `until_offset` are accounted for by the batch: `read`
    records, `gaps` offsets that hold none for a reader of committed records, `lost` offsets that the broker
    no longer had, `compacted` offsets whose records a compacted topic may have removed before they were
    read. A batch that read nothing of a partition repeats its `until_offset` and `watermark`, so the newest
    row says it all.
    """

    topic: str
    partition: int
    from_offset: int
    until_offset: int
    read: int = 0
    gaps: int = 0
    lost: int = 0
    watermark: datetime | None = None
    compacted: int = 0


Sources = Mapping[tuple[str, int], PartitionOffsets]


@dataclass(frozen=True)
class LedgerRow:
    """A row of the ledger; times are UTC, `event_to_silver_*` seconds from Kafka's timestamp to the commit
    (of records whose timestamp can be true; None when there are none).

    `is_derived`: the verdicts were read from bronze, where a run that did not finish had put them.
    """

    sequence: int
    query_id: str
    batch_id: int
    contract_hash: str
    started_at: datetime
    committed_at: datetime
    duration_seconds: float
    is_derived: bool
    sources: tuple[PartitionOffsets, ...]
    read: int
    silver: int
    duplicate: int
    late: int
    rejected: int
    gaps: int
    lost: int
    rejected_by_reason: Mapping[str, int]
    unknown_fields: Mapping[str, int]
    with_unknown_fields: int
    key_mismatch: int
    commits: tuple[Mapping[str, object], ...]
    event_to_silver_p50: float | None
    event_to_silver_p95: float | None
    event_to_silver_max: float | None
    compacted: int = 0


@dataclass(frozen=True)
class StreamPosition:
    """What the newest ledger row hands to the next batch."""

    sequence: int = 0
    sources: Sources = field(default_factory=dict)

    @property
    def watermarks(self) -> dict[tuple[str, int], datetime]:
        """Largest valid event time by (topic, partition)."""
        return {key: source.watermark for key, source in self.sources.items() if source.watermark is not None}


class Ledger:
    """The ledger table of one dataset."""

    def __init__(self, path: str, storage: Mapping[str, str]) -> None:
        self._path = path
        self._storage = dict(storage)
        self._table = TableLog(path, storage)

    def prepare(self) -> None:
        """Create the table unless it is there."""
        DeltaTable.create(
            self._path,
            schema=LEDGER_SCHEMA,
            mode="ignore",
            configuration=LOG_KEPT_A_WEEK,
            storage_options=self._storage,
        )
        log = self._log()
        if set_properties(log, LOG_KEPT_A_WEEK):
            self._table.reopen()

    def last_batch(self, query_id: str) -> int | None:
        """The newest batch of the query that is in the ledger."""
        last = self._log().transaction_version(_app_id(query_id))
        return None if last is None else int(last)

    def last_query(self) -> str | None:
        """The query of the newest row."""
        row = self._newest_row(["query_id"])
        return row["query_id"] if row else None

    def carried(self) -> StreamPosition:
        """Where the next batch takes up, by the row with the largest sequence."""
        row = self._newest_row(["sequence", "sources"])
        if row is None:
            return StreamPosition()
        # Rows of before a column was added have none of it: its default is what they meant.
        sources = [
            PartitionOffsets(**{name: value for name, value in source.items() if value is not None})
            for source in row["sources"]
        ]
        return StreamPosition(row["sequence"], {(one.topic, one.partition): one for one in sources})

    def _newest_row(self, columns: list[str]) -> dict[str, Any] | None:
        """Columns of the row with the largest sequence; only the file that has it is read."""
        log = self._log()
        files = pa.table(log.get_add_actions(flatten=True))
        newest = pc.max(files["max.sequence"]).as_py() if len(files) else None
        if newest is None:
            return None
        rows = log.to_pyarrow_dataset().to_table(columns=columns, filter=pc.field("sequence") == newest)
        found: dict[str, Any] = rows.to_pylist()[0]
        return found

    def append(self, row: LedgerRow) -> None:
        """Add the row of a batch, once."""
        last = self.last_batch(row.query_id)
        if last is not None and last >= row.batch_id:
            return
        content = asdict(row)
        content["rejected_by_reason"] = list(row.rejected_by_reason.items())
        content["unknown_fields"] = list(row.unknown_fields.items())
        write_deltalake(
            self._log(),
            pa.Table.from_pylist([content], schema=LEDGER_SCHEMA),
            mode="append",
            schema_mode="merge",  # a ledger of before a column was added
            commit_properties=CommitProperties(
                app_transactions=[Transaction(_app_id(row.query_id), row.batch_id)]
            ),
            post_commithook_properties=WITHOUT_CLEANUP,
        )

    def _log(self) -> DeltaTable:
        """The table's log as it is now."""
        return self._table.current()


def _app_id(query_id: str) -> str:
    return f"{query_id}:ledger"
