"""The data files of lake tables, written and read by Arrow in the tasks of a Spark job.

Arrow writes Parquet several times faster than Spark does, a micro-batch needs one Spark job for all its
tables, and none to find out which files there are. Until its commit a file is nobody's: what a task or a
driver that died leaves behind, VACUUM removes.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake.fs import DeltaStorageHandler
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from medallion_spark.session.lake_access import LakeAccess
from medallion_store.lake_login import delta_storage_options

MOST_BUFFERED = 64 * 1024 * 1024
"""Bytes of one table that a task gathers before it writes them out, as one file a partition."""

PAGE_BYTES = 4 * 1024 * 1024
"""About how much of a column the Parquet writer encodes before it looks whether a page is full."""

KEY_HASH = "key_hash"
"""A column beside a table's own: it is not written, its values come back with the files."""

_MOST_ROWS_READ, _WRITE_BATCH = 65_536, 1024
"""Arrow's own numbers, for rows of ordinary size."""

FILE_NUMBER = "file_number"
"""A column of rows read: the position of their file among those asked for."""


@dataclass(frozen=True)
class FileLayout:
    """How a table's data files look and where they lie.

    `statistics` are the columns (integers, times, short texts) whose smallest and largest value files tell.
    It goes to the tasks, so it holds no secret: each process logs in to the lake by itself.
    """

    uri: str
    access: LakeAccess
    schema: pa.Schema
    partitioned_by: tuple[str, ...]
    statistics: tuple[str, ...]


@dataclass(frozen=True)
class DataFile:
    """A file that lies in its table's folder.

    `statistics` are JSON, as Delta's log has them; `key_hashes` are the values of KEY_HASH, if rows had it.
    """

    path: str
    partition: Mapping[str, str]
    bytes: int
    rows: int
    statistics: str
    key_hashes: npt.NDArray[np.int64] | None = field(default=None, compare=False, repr=False)


def read_data_files(
    spark: SparkSession,
    layout: FileLayout,
    paths: Sequence[str],
    columns: Sequence[str],
    *,
    with_file_number: bool = False,
) -> DataFrame:
    """Columns of the named files of a table; null where a file is older than the column.

    Args:
        spark: the session.
        layout: of the table.
        paths: relative to the table's folder.
        columns: none that the table is partitioned by: those are not in the files.
        with_file_number: whether FILE_NUMBER is added, the position of the row's file in `paths`.
    """
    schema = pa.schema([layout.schema.field(name) for name in columns])
    complete = schema.append(pa.field(FILE_NUMBER, pa.int32())) if with_file_number else schema

    def read(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        folder = _folder(layout)
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                with folder.open_input_file(paths[number]) as content:
                    for rows in _rows_of(content, columns):
                        whole = in_columns_of(rows, schema)
                        if with_file_number:
                            whole = whole.append_column(
                                FILE_NUMBER, pa.repeat(pa.scalar(number, pa.int32()), len(whole))
                            )
                        yield whole

    tasks = min(len(paths), spark.sparkContext.defaultParallelism)
    return spark.range(0, len(paths), 1, tasks).mapInArrow(read, from_arrow_schema(complete))


def _rows_of(content: pa.NativeFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The file's rows, a bounded number of bytes at a time, however large a row or a row group is."""
    file = pq.ParquetFile(content, buffer_size=PAGE_BYTES)
    there = [name for name in columns if name in file.schema_arrow.names]
    metadata = file.metadata
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        a_row = max(1, group.total_byte_size // max(1, group.num_rows))
        size = max(1, min(_MOST_ROWS_READ, MOST_BUFFERED // 4 // a_row))
        yield from file.iter_batches(batch_size=size, row_groups=[number], columns=there)


def in_columns_of(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows in a schema's columns; null where they lack one."""
    names = set(rows.schema.names)
    arrays = [
        rows.column(field.name).cast(field.type) if field.name in names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _folder(layout: FileLayout) -> pafs.PyFileSystem:
    return pafs.PyFileSystem(DeltaStorageHandler(layout.uri, delta_storage_options(layout.access.login)))


class FileWriter:
    """One task's files of one table: one for each partition, or more if they are large."""

    def __init__(self, layout: FileLayout) -> None:
        self._layout = layout
        self._folder = _folder(layout)
        self._buffered: list[pa.Table] = []
        self._bytes = 0
        self._files: list[DataFile] = []

    def add(self, rows: pa.Table) -> None:
        """Take rows of the layout's schema, which may have KEY_HASH beside."""
        if not len(rows):
            return
        self._buffered.append(rows)
        self._bytes += rows.nbytes
        if self._bytes >= MOST_BUFFERED:
            self._flush()

    def close(self) -> Sequence[DataFile]:
        """Write the rest; gives all files."""
        self._flush()
        return self._files

    def _flush(self) -> None:
        if not self._buffered:
            return
        table = pa.concat_tables(self._buffered)
        self._buffered, self._bytes = [], 0
        for partition, rows in _by_partition(table, self._layout.partitioned_by):
            self._files.append(self._write(partition, rows))

    def _write(self, partition: Mapping[str, str], rows: pa.Table) -> DataFile:
        folder = "".join(f"{name}={value}/" for name, value in partition.items())
        path = f"{folder}part-{uuid.uuid4()}.zstd.parquet"
        hashes = rows[KEY_HASH].to_numpy() if KEY_HASH in rows.column_names else None
        content = rows.select([name for name in self._layout.schema.names if name not in partition])
        with self._folder.open_output_stream(path) as stream:
            pq.write_table(
                content,
                stream,
                compression="zstd",
                compression_level=1,
                # Values of 1 MB: pages are measured only after so many of them.
                write_batch_size=max(
                    1, min(_WRITE_BATCH, PAGE_BYTES * len(content) // max(1, content.nbytes))
                ),
                # Spark reads its own physical types fastest.
                store_decimal_as_integer=True,
            )
            size = stream.tell()
        statistics = _statistics(content, self._layout.statistics)
        return DataFile(path, partition, size, len(rows), statistics, hashes)


def _by_partition(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[Mapping[str, str], pa.Table]]:
    """The table's rows by the values of its partition columns, in the order they came."""
    if not names:
        yield {}, table
        return
    numbers = np.zeros(len(table), dtype=np.int64)
    for name in names:
        codes = table[name].combine_chunks().dictionary_encode()
        numbers = numbers * len(codes.dictionary) + codes.indices.to_numpy()
        _, numbers = np.unique(numbers, return_inverse=True)
    if numbers[0] != 0 or numbers.any():
        order = np.argsort(numbers, kind="stable")
        table, numbers = table.take(pa.array(order)), numbers[order]
    ends = [*np.flatnonzero(np.diff(numbers)) + 1, len(table)]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        rows = table.slice(start, end - start)
        yield {name: _partition_value(rows[name][0].as_py()) for name in names}, rows


def _partition_value(value: Any) -> str:
    if isinstance(value, int | date):
        return str(value)
    raise TypeError(f"a partition value is a {type(value).__name__}: only integers and dates name folders")


def _statistics(rows: pa.Table, names: Sequence[str]) -> str:
    """As in Delta's log (its PROTOCOL.md, "Per-file Statistics")."""
    ends = {name: pc.min_max(rows[name]).as_py() for name in names}
    known = {name: end for name, end in ends.items() if end["min"] is not None}
    return json.dumps(
        {
            "numRecords": len(rows),
            "minValues": {name: _json_value(end["min"]) for name, end in known.items()},
            "maxValues": {name: _json_value(end["max"]) for name, end in known.items()},
            "nullCount": {name: rows[name].null_count for name in names},
        }
    )


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


def written_at() -> int:
    """Now, as Delta's log tells the time of a file: milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
