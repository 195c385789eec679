"""The lake tables of the stream: their columns, and appends that are safe to repeat.

The tasks of a Spark job write the data files (module `data_files`). Tables are created, read in the log and
committed to by `deltalake`: that takes milliseconds where a Spark job takes a second.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from deltalake import DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction

from medallion_contracts.compile.arrow import arrow_schema
from medallion_contracts.errors import StreamError
from medallion_contracts.model import INCARNATION, Dataset
from medallion_spark.lake.commits import Commit, TableCommit, commit_properties, newest_commits
from medallion_spark.lake.data_files import DataFile, FileLayout, written_at
from medallion_spark.lake.table_log import COMMITS_KEPT, WITHOUT_CLEANUP, TableLog, log_kept, set_properties
from medallion_spark.session.lake_access import LakeAccess
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths

_REBUILD = "move the table's folder away, and trigger the rebuild: it makes the table from bronze"
FENCED = 2**63 - 1
"""txnVersion of the empty commit that shuts out a query for good."""

_MOMENT = pa.timestamp("us", tz="UTC")
_HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
_BATCH = [("_query_id", pa.string()), ("_batch_id", pa.int64())]
_VERDICT = [("verdict", pa.string()), ("reasons", pa.list_(pa.string())), ("contract_hash", pa.string())]
_RECORD = [
    ("key", pa.binary()),
    ("value", pa.binary()),
    ("topic", pa.string()),
    ("partition", pa.int32()),
    ("offset", pa.int64()),
    ("timestamp", _MOMENT),
    ("timestamp_type", pa.int32()),
    ("headers", _HEADERS),
    (INCARNATION, pa.int32()),
]
BRONZE_SCHEMA = pa.schema(
    [*_RECORD, ("ingested_at", _MOMENT), ("ingest_date", pa.date32()), *_BATCH, *_VERDICT]
)
QUARANTINE_SCHEMA = pa.schema(
    [
        ("quarantine_id", pa.string()),
        *_RECORD,
        ("quarantined_at", _MOMENT),
        ("ingest_date", pa.date32()),
        *_BATCH,
        *_VERDICT,
    ]
)


@dataclass
class LakeTable:
    """One Delta table of the lake.

    `statistics` are the columns whose smallest and largest value per file are kept: they cost time for each
    row, so only what a reader of ours filters by.
    """

    name: str
    path: str
    access: LakeAccess
    schema: pa.Schema
    partitioned_by: tuple[str, ...]
    statistics: tuple[str, ...]
    properties: Mapping[str, str] = field(default_factory=dict)
    _log: TableLog = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._log = TableLog(self.path, delta_storage_options(self.access.login))

    def exists(self) -> bool:
        """Whether there is such a table."""
        try:
            self.log()
        except TableNotFoundError:
            return False
        return True

    def has_rows(self) -> bool:
        """Whether the newest version has data files."""
        return self.exists() and len(self.files()) > 0

    @property
    def configuration(self) -> dict[str, str]:
        """The Delta properties that the table has."""
        return {
            # Who joins files keeps what readers filter by.
            "delta.dataSkippingStatsColumns": ",".join(self.statistics),
            # A checkpoint costs Spark seconds; reading a hundred small files of the log does not.
            "delta.checkpointInterval": "100",
            **log_kept(COMMITS_KEPT),
            **self.properties,
        }

    def prepare(self) -> None:
        """Create the table, or add the columns that its contract has got since.

        Raises:
            StreamError: the table has a column of another type, or is partitioned otherwise.
        """
        if not self.exists():
            DeltaTable.create(
                self.path,
                schema=self.schema,
                mode="ignore",
                partition_by=list(self.partitioned_by),
                configuration=self.configuration,
                storage_options=delta_storage_options(self.access.login),
            )
        self._evolve()

    def _evolve(self) -> None:
        log = self.log()
        there = {f.name: f.type for f in log.schema().fields}
        wanted = {f.name: f for f in Schema.from_arrow(self.schema).fields}
        if tuple(log.metadata().partition_columns) != self.partitioned_by:
            raise StreamError(
                f"{self.path} is partitioned by {', '.join(log.metadata().partition_columns) or 'nothing'}, "
                f"its contract says {', '.join(self.partitioned_by)}: {_REBUILD}"
            )
        other = [name for name, field_ in wanted.items() if name in there and there[name] != field_.type]
        if other:
            raise StreamError(f"{self.path}: the contract changed the type of {', '.join(other)}: {_REBUILD}")
        new = [field_ for name, field_ in wanted.items() if name not in there]
        if new:
            log.alter.add_columns(new, post_commithook_properties=WITHOUT_CLEANUP)
            self._log.reopen()
        if set_properties(log, self.configuration):
            self._log.reopen()

    def log(self) -> DeltaTable:
        """The table's log as it is now."""
        return self._log.current()

    def version(self) -> int:
        """The newest version."""
        return int(self.log().version())

    def files(self) -> pa.Table:
        """The files of the newest version: `path`, `partition.<column>`, `min.<column>`, `max.<column>`."""
        return pa.table(self.log().get_add_actions(flatten=True))

    def holds(self, app_id: str, batch_id: int) -> bool:
        """Whether the app has committed the batch.

        Raises:
            StreamError: the app is fenced off.
        """
        return self._holds(self.log(), app_id, batch_id)

    @staticmethod
    def _holds(log: DeltaTable, app_id: str, batch_id: int) -> bool:
        last = log.transaction_version(app_id)
        if last == FENCED:
            raise StreamError(
                f"query {app_id.partition(':')[0]} was ended by a recovery and another one follows it: "
                "start without the old checkpoint"
            )
        return last is not None and last >= batch_id

    def fence(self, app_id: str) -> bool:
        """Refuse all further batches of the app, by an empty commit; False when that was so already."""
        log = self.log()
        if log.transaction_version(app_id) == FENCED:
            return False
        self._commit(log, [], Transaction(app_id, FENCED), f"{app_id} is closed", {})
        return True

    @property
    def layout(self) -> FileLayout:
        """How `data_files` writes this table's files."""
        return FileLayout(self.path, self.access, self.schema, self.partitioned_by, self.statistics)

    def append(
        self, files: Sequence[DataFile], app_id: str, batch_id: int, notes: Mapping[str, str] | None = None
    ) -> Commit:
        """Append the files as the app's batch; a batch that is there already is left as it is.

        Args:
            files: written already.
            app_id: whose batch it is.
            batch_id: its id.
            notes: kept with the commit, for `note`.

        Raises:
            StreamError: another driver has committed the batch meanwhile.
        """
        log = self.log()
        if self._holds(log, app_id, batch_id):
            return self.committed(app_id, batch_id)
        # It names this very attempt.
        label = f"{app_id}:{batch_id}:{uuid.uuid4().hex}"
        try:
            # On top of the very log looked at above: a commit of the same app in between is a conflict.
            self._commit(log, files, Transaction(app_id, batch_id), label, notes or {})
        except CommitFailedError as error:
            raise StreamError(
                f"{self.path}: the commit of batch {batch_id} failed ({error}): another driver writes for "
                "the same query, or the table was replaced"
            ) from error
        return self.committed(app_id, batch_id, label)

    def _commit(
        self,
        log: DeltaTable,
        files: Sequence[DataFile],
        transaction: Transaction,
        label: str,
        notes: Mapping[str, str],
    ) -> None:
        now = written_at()
        log.create_write_transaction(
            [AddAction(f.path, f.bytes, dict(f.partition), now, True, f.statistics) for f in files],
            mode="append",
            schema=log.schema(),
            partition_by=list(self.partitioned_by),
            commit_properties=commit_properties(files, transaction, label, notes),
            post_commithook_properties=WITHOUT_CLEANUP,
        )

    def committed(self, app_id: str, batch_id: int, label: str | None = None) -> Commit:
        """The commit of the app's batch; with `label`, the one of this attempt.

        Raises:
            StreamError: there is no such commit.
        """
        found = self.commit_of(app_id, batch_id, label)
        return Commit(self.name, found.version, found.rows)

    def commit_of(self, app_id: str, batch_id: int, label: str | None = None) -> TableCommit:
        """The commit of the app's batch with the files it added; see `committed`."""
        found = self._newest(label or f"{app_id}:{batch_id}:")
        if found is None:
            raise StreamError(
                f"{self.path} has no commit of batch {batch_id} by this driver: "
                "another one writes for the same query"
            )
        return found

    def note(self, app_id: str, batch_id: int, name: str) -> str | None:
        """What was noted with the commit of the app's batch; None when it has no such note."""
        found = self._newest(f"{app_id}:{batch_id}:")
        note = found.info.get(name) if found is not None else None
        return None if note is None else str(note)

    def _newest(self, label: str) -> TableCommit | None:
        """The newest commit whose label begins so."""
        return next((one for one in self.newest_commits() if one.label.startswith(label)), None)

    def newest_commits(self) -> Iterator[TableCommit]:
        """The table's commits, the newest first, read one by one."""
        return newest_commits(self.path, self.access, self.version())


@dataclass(frozen=True)
class StreamTables:
    """The tables that a micro-batch writes, in the order of their commits (silver and quarantine at once)."""

    bronze: LakeTable
    silver: LakeTable
    quarantine: LakeTable

    def __iter__(self) -> Iterator[LakeTable]:
        return iter((self.bronze, self.silver, self.quarantine))

    def prepare(self) -> None:
        """Create what is missing (see `stream.preparation` for when that is right) and add new columns."""
        for table in self:
            table.prepare()


def stream_tables(paths: LakePaths, dataset: Dataset, access: LakeAccess) -> StreamTables:
    """The tables of a dataset."""
    silver = dataset.silver
    return StreamTables(
        bronze=LakeTable(
            "bronze",
            paths.bronze,
            access,
            BRONZE_SCHEMA,
            ("ingest_date",),
            ("topic", "offset", "_batch_id"),
        ),
        silver=LakeTable(
            "silver",
            paths.silver,
            access,
            arrow_schema(silver),
            silver.partitioned_by,
            (dataset.event_time,),
            {"delta.enableChangeDataFeed": "true"},
        ),
        quarantine=LakeTable(
            "quarantine",
            paths.quarantine,
            access,
            QUARANTINE_SCHEMA,
            ("ingest_date",),
            ("quarantined_at", "_batch_id"),
        ),
    )
