"""The ledger: one row per micro-batch, always written last, and where the next batch takes up.

Rows are tiny, so `deltalake` appends them (some 20 ms; a Spark job takes a second).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import TableNotFoundError

from medallion_spark.lake.table_log import WITHOUT_CLEANUP, TableLog, log_kept
from medallion_spark.stream.last_records import LastRecord

_PROPERTIES = log_kept(timedelta(days=2))  # rows are read, single commits are not
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
        ("incarnation", pa.int32()),
        ("last_offset", pa.int64()),
        ("last_timestamp_ms", pa.int64()),
        ("last_hash", pa.string()),
        ("end_offset", pa.int64()),
        ("compacted", pa.int64()),
    ]
)
LOG_TYPE = pa.struct(
    [
        ("topic", pa.string()),
        ("incarnation", pa.int32()),
        ("cluster_id", pa.string()),
        ("topic_id", pa.string()),
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
        ("logs", pa.list_(LOG_TYPE)),
        ("lost_is_at_least", pa.bool_()),
        ("compacted", pa.int64()),
    ]
)
ACCEPTED = "accept-log:"
"""What the `query_id` of a row begins with that belongs to no batch: it accepts another log of a topic."""


@dataclass(frozen=True)
class PartitionOffsets:
    """One Kafka partition after a batch.

    Offsets from `from_offset` up to, not including, `until_offset` are accounted for by the batch: `read`
    records, `gaps` offsets that hold none for a reader of committed records, `lost` offsets that the broker
    no longer had, `compacted` offsets whose records a compacted topic may have removed before they were
    read. A batch that read nothing of a partition repeats its `until_offset`, `watermark` and last record, so
    the newest row says it all. `incarnation` counts the logs of the topic's name; `last_*` are of the last
    record that was read; `end_offset` is where the partition ended when that was last seen.
    """

    topic: str
    partition: int
    from_offset: int
    until_offset: int
    read: int = 0
    gaps: int = 0
    lost: int = 0
    watermark: datetime | None = None
    incarnation: int = 0
    last_offset: int | None = None
    last_timestamp_ms: int | None = None
    last_hash: str | None = None
    end_offset: int | None = None
    compacted: int = 0

    @property
    def last(self) -> LastRecord | None:
        """The last record that was read; None when none was, or it is not known."""
        if self.last_offset is None or self.last_timestamp_ms is None or self.last_hash is None:
            return None
        return LastRecord(self.last_offset, self.last_timestamp_ms, self.last_hash)


@dataclass(frozen=True)
class KnownLog:
    """The log that a topic's offsets belong to; the ids are None where broker or ledger have none."""

    topic: str
    incarnation: int = 0
    cluster_id: str | None = None
    topic_id: str | None = None


Sources = Mapping[tuple[str, int], PartitionOffsets]


@dataclass(frozen=True)
class LedgerRow:
    """A row of the ledger; times are UTC, `event_to_silver_*` seconds from Kafka's timestamp to the commit
    (of records whose timestamp can be true; None when there are none).

    `is_derived`: the verdicts were read from bronze, where a run that did not finish had put them.
    `lost_is_at_least`: more than `lost` may have been lost, with a log that is gone.
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
    logs: tuple[KnownLog, ...] = ()
    lost_is_at_least: bool = False
    compacted: int = 0


@dataclass(frozen=True)
class StreamPosition:
    """What the newest ledger row hands to the next batch.

    `sources` are of the newest incarnation of each topic. `logs` lacks topics that were last read before what
    identifies a log was kept. `query_id` is the row's.
    """

    sequence: int = 0
    sources: Sources = field(default_factory=dict)
    logs: Mapping[str, KnownLog] = field(default_factory=dict)
    query_id: str = ""

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

    @property
    def path(self) -> str:
        """Where the table is."""
        return self._path

    def exists(self) -> bool:
        """Whether there is such a table."""
        return self._table.exists()

    def has_rows(self) -> bool:
        """Whether a batch was ever done."""
        return self.exists() and self._log().get_add_actions().num_rows > 0

    def prepare(self) -> None:
        """Create the table unless it is there."""
        self._table.ensure(LEDGER_SCHEMA, _PROPERTIES)

    def last_batch(self, query_id: str) -> int | None:
        """The newest batch of the query that is in the ledger."""
        last = self._log().transaction_version(_app_id(query_id))
        return None if last is None else int(last)

    def last_query(self) -> str | None:
        """The query of the newest batch."""
        until = self.carried().sequence
        while until > 0:
            [row] = self.rows(["query_id"], until - 1, until) or [{"query_id": ACCEPTED}]
            if not row["query_id"].startswith(ACCEPTED):
                return str(row["query_id"])
            until -= 1
        return None

    def carried(self) -> StreamPosition:
        """Where the next batch takes up, by the row with the largest sequence."""
        log = self._log()
        files = pa.table(log.get_add_actions(flatten=True))
        # Only the file that has it is read.
        newest = pc.max(files["max.sequence"]).as_py() if len(files) else None
        if newest is None:
            return StreamPosition()
        there = {field.name for field in log.schema().fields}
        columns = [name for name in ("query_id", "sources", "logs") if name in there]
        [row] = self.rows(columns, newest - 1, newest)
        logs = {one["topic"]: KnownLog(**_known(one)) for one in row.get("logs") or ()}
        sources = [PartitionOffsets(**_known(source)) for source in row["sources"]]
        return position(newest, sources, logs, row["query_id"])

    def rows(self, columns: Sequence[str], after: int, until: int) -> list[dict[str, Any]]:
        """Columns of the rows with a sequence above `after`, up to `until`, the newest first.

        The table's files tell their sequences: few are read for few rows.
        """
        is_here = (pc.field("sequence") > after) & (pc.field("sequence") <= until)
        wanted = list(dict.fromkeys(["sequence", *columns]))
        rows = self._log().to_pyarrow_dataset().to_table(columns=wanted, filter=is_here)
        found: list[dict[str, Any]] = rows.sort_by([("sequence", "descending")]).to_pylist()
        return found

    def forget_after(self, sequence: int) -> None:
        """Remove the rows of batches after this one: bronze has lost them, and they are to be read again."""
        self._log().delete(f"sequence > {int(sequence)}")
        self._table.reopen()

    def last_batches(self) -> dict[str, int]:
        """The newest batch of each query."""
        rows = self._log().to_pyarrow_table(columns=["query_id", "batch_id"])
        newest = rows.group_by("query_id").aggregate([("batch_id", "max")]).to_pylist()
        return {row["query_id"]: row["batch_id_max"] for row in newest}

    def append(self, row: LedgerRow) -> None:
        """Add the row of a batch, once."""
        last = self.last_batch(row.query_id)
        if last is None or last < row.batch_id:
            self.append_all([row])

    def append_all(self, rows: Sequence[LedgerRow]) -> None:
        """Add rows in one commit, which creates the table if there is none.

        Args:
            rows: in their order, none of which the ledger has.
        """
        newest = {row.query_id: row.batch_id for row in rows}
        table = self._log_if_there()
        write_deltalake(
            table or self._path,
            pa.Table.from_pylist([_content(row) for row in rows], schema=LEDGER_SCHEMA),
            mode="append",
            schema_mode="merge",  # a ledger of before a column was added
            configuration=None if table else _PROPERTIES,
            storage_options=None if table else self._storage,
            commit_properties=CommitProperties(
                app_transactions=[Transaction(_app_id(query), batch) for query, batch in newest.items()]
            ),
            post_commithook_properties=WITHOUT_CLEANUP,
        )

    def _log_if_there(self) -> DeltaTable | None:
        try:
            return self._log()
        except TableNotFoundError:
            return None

    def _log(self) -> DeltaTable:
        """The table's log as it is now."""
        return self._table.current()


def position(
    sequence: int, sources: Iterable[PartitionOffsets], logs: Mapping[str, KnownLog], query_id: str
) -> StreamPosition:
    """What a row hands on: nothing of a log that another one has followed."""
    there = {
        (source.topic, source.partition): source
        for source in sources
        if source.topic not in logs or source.incarnation == logs[source.topic].incarnation
    }
    return StreamPosition(sequence, there, logs, query_id)


def _known(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Without what an older row lacks: the default holds."""
    return {name: value for name, value in stored.items() if value is not None}


def _content(row: LedgerRow) -> dict[str, object]:
    return {
        **asdict(row),
        "rejected_by_reason": list(row.rejected_by_reason.items()),
        "unknown_fields": list(row.unknown_fields.items()),
    }


def _app_id(query_id: str) -> str:
    return f"{query_id}:ledger"
