"""Rows between Spark and Postgres: COPY both ways, as CSV that Arrow writes and reads.

COPY is about twice as fast as JDBC's batched inserts, and its transaction can hold a note of what it copied.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

import psycopg
import pyarrow as pa
import pyarrow.csv as csv
from pyspark import TaskContext
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from medallion_contracts.compile.arrow import arrow_schema
from medallion_contracts.compile.postgres import LOOK_UP_STAGED, STAGING, columns, quoted, staging_name
from medallion_contracts.compile.spark import spark_schema
from medallion_contracts.errors import GoldError
from medallion_contracts.model import Column, ColumnType, Table
from medallion_spark.session.secrets import gold_dsn
from medallion_store.postgres import gold_connection

_COPIED = T.StructType([T.StructField("partition_id", T.IntegerType()), T.StructField("rows", T.LongType())])
_CHUNK = 1 << 20
_AS_CSV = "(FORMAT csv, ENCODING 'UTF8')"
"""Arrow's bytes are UTF-8, whatever encoding the session has."""


def copy_in(frame: DataFrame, set_id: int, name: str, staged: Sequence[Column], *, few: bool = False) -> int:
    """Copy a frame into the staging table `name` of a set; returns the rows Spark had.

    Rows go there from the executors; `few` of them by the driver, so that no Python worker has to start.

    A task's rows and its line in staging.copies are one transaction. Crash points: a task that dies before
    the commit leaves nothing and runs again; one that dies after it, or a speculative twin (it waits for the
    line's lock), finds the line and copies nothing. A partition holds the same rows on each attempt: frames
    given here are partitioned by hash or by file, never round-robin.
    """
    target = staging_name(set_id, name)
    statement = f"COPY {quoted(STAGING, target)} ({columns(c.name for c in staged)}) FROM STDIN {_AS_CSV}"

    def copy(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield _copy_partition(batches, set_id, name, statement)

    rendered = frame.select(*(_rendered(column) for column in staged))
    if few:
        try:
            done = _copy_partition(rendered.toArrow().to_batches(), set_id, name, statement)
        except GoldError as error:  # from a task it comes as Spark's, and is named by the job
            raise GoldError(f"the set was not written, gold is unchanged: {error}") from error
        return int(done["rows"][0].as_py())
    return sum(row["rows"] for row in rendered.mapInArrow(copy, _COPIED).collect())


def _copy_partition(
    batches: Iterable[pa.RecordBatch], set_id: int, name: str, statement: str
) -> pa.RecordBatch:
    context = TaskContext.get()
    partition = context.partitionId() if context else 0
    part = {"set": set_id, "table": name, "partition": partition}
    with gold_connection(gold_dsn()) as connected:
        noted = connected.execute(
            "INSERT INTO staging.copies VALUES (%(set)s, %(table)s, %(partition)s, 0) ON CONFLICT DO NOTHING",
            part,
        )
        if noted.rowcount:
            rows = _copy_batches(connected, batches, statement)
            connected.execute(
                "UPDATE staging.copies SET row_count = %(rows)s WHERE set_id = %(set)s "
                "AND table_name = %(table)s AND partition_id = %(partition)s",
                {**part, "rows": rows},
            )
    if not noted.rowcount:
        # Outside of the transaction: its rows are still to be computed.
        rows = sum(batch.num_rows for batch in batches)
    return pa.RecordBatch.from_pydict(
        {"partition_id": pa.array([partition], pa.int32()), "rows": pa.array([rows], pa.int64())}
    )


def _copy_batches(connected: psycopg.Connection, batches: Iterable[pa.RecordBatch], statement: str) -> int:
    rows = 0
    options = csv.WriteOptions(include_header=False)
    with connected.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for batch in batches:
            text = pa.BufferOutputStream()
            csv.write_csv(_in_utc(batch), text, options)
            copy.write(text.getvalue().to_pybytes())
            rows += batch.num_rows
    return rows


def _in_utc(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Timestamps as UTC without saying so, as the connection's zone is UTC.

    Arrow takes 25 times as long to write a timestamp with a zone; with two of them in a row of twenty
    columns, that was three quarters of the time it took to write the row.
    """
    naive = [
        # Through its number, which is UTC whatever the zone is.
        column.cast(pa.int64()).cast(pa.timestamp("us")) if pa.types.is_timestamp(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(naive, names=batch.schema.names)


def _rendered(column: Column) -> SparkColumn:
    """A column as CSV can hold it: a list as Postgres' array literal, the rest as it is."""
    if column.type is not ColumnType.STRINGS:
        return F.col(column.name)
    quoted_entries = F.transform(
        F.col(column.name),
        lambda entry: F.concat(F.lit('"'), F.regexp_replace(entry, r'(["\\])', r"\\$1"), F.lit('"')),
    )
    return F.concat(F.lit("{"), F.array_join(quoted_entries, ","), F.lit("}")).alias(column.name)


def fetch(spark: SparkSession, query: str, table: Table, *, few: bool = False) -> DataFrame:
    """The result of a query, in one partition, with the columns and types of `table`.

    The query is read by COPY TO on an executor, or `few` rows by the driver, now. A retried task reads
    it again, which is the same rows as long as nobody publishes, and a publication in between makes the set
    stale anyway. Its joins are look-ups of staged rows.
    """
    selected = ", ".join(
        f"array_to_json({quoted(c.name)})::text AS {quoted(c.name)}"
        if c.type is ColumnType.STRINGS
        else quoted(c.name)
        for c in table.columns
    )
    statement = f"COPY (SELECT {selected} FROM ({query}) AS q) TO STDOUT {_AS_CSV}"
    schema = pa.schema(
        [pa.field(f.name, pa.string() if pa.types.is_list(f.type) else f.type) for f in arrow_schema(table)]
    )

    def read(_: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return _read(statement, schema)

    types = spark_schema(table)
    read_types = T.StructType(
        [
            T.StructField(f.name, T.StringType() if isinstance(f.dataType, T.ArrayType) else f.dataType)
            for f in types
        ]
    )
    if few:
        raw = spark.createDataFrame(pa.Table.from_batches(_read(statement, schema), schema), read_types)
    else:
        raw = spark.range(1, numPartitions=1).mapInArrow(read, read_types)
    return raw.select(
        *(
            F.from_json(f.name, "array<string>").alias(f.name)
            if isinstance(f.dataType, T.ArrayType)
            else f.name
            for f in types
        )
    )


def _read(statement: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with (
        gold_connection(gold_dsn()) as connected,
        connected.execute(LOOK_UP_STAGED).copy(statement.encode()) as copy,
    ):
        stream = _Stream(iter(copy))
        first = stream.read(1)
        if not first:
            return  # Arrow takes no empty CSV
        stream.put_back(first)
        reader = csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            read_options=csv.ReadOptions(column_names=schema.names, block_size=_CHUNK, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=schema,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        )
        yield from reader


class _Stream(io.RawIOBase):
    """The blocks of a COPY as the file that Arrow wants to read."""

    def __init__(self, blocks: Iterator[object]) -> None:
        self._blocks = blocks
        self._rest = b""

    def put_back(self, data: bytes) -> None:
        """Let the next read start with these bytes."""
        self._rest = data + self._rest

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        parts, length = [self._rest], len(self._rest)
        while size < 0 or length < size:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(bytes(memoryview(block)))  # type: ignore[arg-type]  # a COPY yields buffers
            length += len(parts[-1])
        data = b"".join(parts)
        cut = len(data) if size < 0 else size
        self._rest = data[cut:]
        return data[:cut]

    def readable(self) -> bool:
        """Always."""
        return True
