"""A micro-batch's rows in all tables: data files written together, committed one table after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts import reasons
from medallion_contracts.model import Dataset
from medallion_spark.lake import silver_partitions
from medallion_spark.lake.commits import Commit
from medallion_spark.lake.data_files import DataFile
from medallion_spark.lake.table_rows import JUDGED_COLUMNS, bronze_rows, quarantine_rows, silver_rows
from medallion_spark.lake.tables import LakeTable, StreamTables
from medallion_spark.stream import batch_balance
from medallion_spark.stream.batch_balance import SILVER
from medallion_spark.stream.batch_writer import SILVER_COLUMNS, TableRows, Written, write_batch_files
from medallion_spark.verdicts.batch_verdicts import Judged

ROWS_A_FILE = 100_000
"""A batch of fewer rows is written as one file (for each partition of the table)."""
MANY_PARTITIONS = 64
"""From so many touched partitions on, silver's rows are brought together by partition before the write."""


def app_id(query_id: str, table: LakeTable) -> str:
    """Names the query's appends to a table, in Delta's transaction ids."""
    return f"{query_id}:{table.name}"


class TableWrites:
    """The appends of one query.

    Args:
        spark: the session.
        dataset: its contracts.
        tables: prepared.
        query_id: of Spark's checkpoint.
        guard: called right before each commit; raises when this driver may not write (any more).
        on_silver: gets the files that silver has got.
    """

    def __init__(
        self,
        spark: SparkSession,
        dataset: Dataset,
        tables: StreamTables,
        query_id: str,
        guard: Callable[[], None],
        on_silver: Callable[[Sequence[DataFile]], None],
    ) -> None:
        self._spark = spark
        self._dataset = dataset
        self._tables = tables
        self._query_id = query_id
        self._guard = guard
        self._on_silver = on_silver

    def append_all(
        self,
        judged: Judged,
        batch_id: int,
        notes: Mapping[str, str],
        confirm: Callable[[Written], None],
    ) -> tuple[Written, list[Commit]]:
        """The batch's rows in all tables: files written together, committed one table after the other.

        Args:
            judged: the batch.
            batch_id: its id.
            notes: kept with the commit of bronze, which is the decision.
            confirm: called when all files are written, before any is committed; raises to leave them so.
        """
        parts = [part for part in self._parts(judged) if part.expected]
        missing = [part for part in parts if not part.table.holds(part.app_id, batch_id)]
        written = self._write_files(judged, missing)
        confirm(written)
        return written, [self._append(part, written.files.get(part.name), batch_id, notes) for part in parts]

    def _parts(self, judged: Judged) -> list[_TableWrite]:
        """In the order of their commits."""
        tables, numbers = self._tables, judged.numbers
        app_ids = {
            table.name: app_id(self._query_id, table)
            for table in (tables.bronze, tables.silver, tables.quarantine)
        }
        quarantine = app_ids["quarantine"]
        return [
            _TableWrite("bronze", tables.bronze, app_ids["bronze"], bronze_rows, numbers.read),
            _TableWrite(
                "silver",
                tables.silver,
                app_ids["silver"],
                partial(silver_rows, dataset=self._dataset),
                numbers.verdicts[SILVER],
            ),
            _TableWrite(
                "quarantine",
                tables.quarantine,
                quarantine,
                partial(_quarantine, changed=False),
                numbers.quarantine - judged.changed,
            ),
            # On its own: a driver that died may have committed the others, by the contract of its day.
            _TableWrite(
                "changed",
                tables.quarantine,
                f"{quarantine}:contract_changed",
                partial(_quarantine, changed=True),
                judged.changed,
            ),
        ]

    def _write_files(self, judged: Judged, parts: Sequence[_TableWrite]) -> Written:
        """The data files of the parts, in one pass over the records (two for a history of many hours)."""
        if judged.numbers.read == 0:
            return Written({})  # a batch of offsets without records
        partitions = len(silver_partitions.touched_partitions(judged.summary.hours, self._dataset))
        apart = [part for part in parts if part.name == "silver" and partitions > MANY_PARTITIONS]
        together = [part for part in parts if part not in apart]
        cores = self._spark.sparkContext.defaultParallelism
        few = max(1, min(cores, -(-judged.numbers.read // ROWS_A_FILE)))
        written = _pass(judged, judged.records.coalesce(few), together)
        if apart:
            # A partition's rows come together, so that each has one file. They do without the raw records.
            hours = list(silver_partitions.silver_partition(self._dataset).values())
            accepted = judged.records.where(F.col("verdict") == SILVER).drop("key", "value", "headers")
            records = accepted.repartition(*hours).sortWithinPartitions(*hours)
            written.files |= _pass(judged, records, apart, SILVER_COLUMNS).files
        return written

    def _append(
        self, part: _TableWrite, files: Sequence[DataFile] | None, batch_id: int, notes: Mapping[str, str]
    ) -> Commit:
        """Commit a part's files; None were needed when a driver that died had committed it."""
        if files is None:
            commit = part.table.committed(part.app_id, batch_id)
        else:
            written = sum(file.rows for file in files)
            batch_balance.check_written(part.table.name, written, part.expected)
            self._guard()
            is_decision = part.table is self._tables.bronze
            commit = part.table.append(files, part.app_id, batch_id, notes if is_decision else None)
            if part.name == "silver":
                self._on_silver(files)
        batch_balance.check_written(part.table.name, commit.rows, part.expected)
        return commit


@dataclass(frozen=True)
class _TableWrite:
    """What a batch adds to a table by one commit, `expected` rows."""

    name: str
    table: LakeTable
    app_id: str
    rows_of: Callable[[pa.Table], pa.Table]
    expected: int


def _pass(
    judged: Judged,
    records: DataFrame,
    parts: Sequence[_TableWrite],
    of_columns: Sequence[str] = JUDGED_COLUMNS,
) -> Written:
    tables = {
        part.name: TableRows(part.table.layout, part.rows_of, with_keys=part.name == "silver")
        for part in parts
    }
    largest = max(row["largest_bytes"] for row in judged.summary.sources)
    return write_batch_files(
        records,
        tables,
        repeats=judged.repeats,
        constants=judged.constants,
        largest=max(1, largest),
        of_columns=of_columns,
    )


def _quarantine(judged: pa.Table, *, changed: bool) -> pa.Table:
    rows = quarantine_rows(judged)
    is_here = [(reasons.CONTRACT_CHANGED in found) == changed for found in rows["reasons"].to_pylist()]
    return rows.filter(pa.array(is_here, pa.bool_()))
