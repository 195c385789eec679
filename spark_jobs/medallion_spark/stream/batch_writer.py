"""One pass over a judged micro-batch: the data files of all its tables, and what the ledger tells of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pickle import dumps, loads

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession

from medallion_contracts import reasons
from medallion_spark.lake.data_files import KEY_HASH, DataFile, FileLayout, FileWriter
from medallion_spark.lake.table_rows import JUDGED_COLUMNS
from medallion_spark.session.spark_session import ARROW_BYTES
from medallion_spark.stream.batch_balance import DUPLICATE, REJECTED, SILVER
from medallion_spark.stream.last_records import LastRecord, Partition, last_records, later

MOST_NAMES = 50
"""Most reasons or unknown fields that a ledger row names."""
_EARLIEST_ARRIVAL = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
_CLOCKS_DIFFER = round(reasons.FUTURE_TOLERANCE.total_seconds()) * 1_000_000
_MOST_NAMES_OF_A_TASK = 20 * MOST_NAMES
"""Their counts are exact while there are no more of them than this."""
_MOST_RANKS = 1001
_MOST_RECORDS = 10_000
_FEWEST_RECORDS = 1_000

SILVER_COLUMNS = tuple(name for name in JUDGED_COLUMNS if name not in ("key", "value", "headers"))
"""Those that silver's rows are made of: without the raw record."""


def most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent MOST_NAMES, in order."""
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:MOST_NAMES])


@dataclass(frozen=True)
class TableRows:
    """What a table gets: its layout, and the function that makes its rows of judged records.

    `with_keys`: the rows are those of the records accepted for silver, and their files tell KEY_HASH.
    """

    layout: FileLayout
    rows_of: Callable[[pa.Table], pa.Table]
    with_keys: bool = False


@dataclass
class Written:
    """What a pass found and wrote.

    `files` are not committed. `by_reason` counts the rejected, `unknown` the unknown fields; `arrivals` are
    Kafka's times (microseconds since the epoch) of silver's records, each for `weights` of them, without the
    times that cannot be true; `last` are the last records of the Kafka partitions, where the raw records were
    among the columns.
    """

    files: dict[str, list[DataFile]]
    by_reason: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    arrivals: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    weights: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    last: dict[Partition, LastRecord] = field(default_factory=dict)

    def add(self, other: Written) -> None:
        """Take what another task found."""
        for name, files in other.files.items():
            self.files[name] += files
        self.by_reason += other.by_reason
        self.unknown += other.unknown
        self.arrivals = np.concatenate((self.arrivals, other.arrivals))
        self.weights = np.concatenate((self.weights, other.weights))
        self.last = later(self.last, other.last)

    def arrival(self, share: float) -> int | None:
        """The arrival that this share of silver's records is not later than; None when there are none."""
        if not len(self.arrivals):
            return None
        order = np.argsort(self.arrivals)
        so_far = np.cumsum(self.weights[order])
        return int(self.arrivals[order][np.searchsorted(so_far, share * so_far[-1])])


def write_batch_files(
    records: DataFrame,
    tables: Mapping[str, TableRows],
    *,
    repeats: pa.Table,
    constants: Mapping[str, pa.Scalar],
    largest: int,
    of_columns: Sequence[str] = JUDGED_COLUMNS,
) -> Written:
    """Write the records' rows as files of the tables.

    Args:
        records: judged, with all of `of_columns` that are not constant, `unknown` and KEY_HASH. Each task
            writes one file for each partition of each table, or more if they are large.
        tables: by any name.
        repeats: of the batch, in the schema REPEATS: they change verdicts.
        constants: columns that are the same for all records.
        largest: bytes of the largest record.
        of_columns: the columns of judged records that the rows are made of.
    """
    columns = [name for name in (*of_columns, "unknown", KEY_HASH) if name not in constants]

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task = _Task(tables, _Repeats(repeats))
        for batch in batches:
            judged = pa.Table.from_batches([batch])
            for name, value in constants.items():
                judged = judged.append_column(name, pa.repeat(value, len(batch)))
            task.add(judged)
        yield pa.RecordBatch.from_pydict({"written": [dumps(task.close())]})

    written = Written({name: [] for name in tables})
    with _bounded_batches(records.sparkSession, largest):
        found = records.select(*columns).mapInArrow(work, "written binary").toArrow()
    for row in found["written"]:
        written.add(loads(row.as_py()))  # noqa: S301  # made by our own tasks
    return written


@contextmanager
def _bounded_batches(spark: SparkSession, largest: int) -> Iterator[None]:
    """Bound the batches that go to Python by their number of records, where that bounds their bytes too.

    Spark asks for the bytes of a batch again after each record, and with lists and structs among the columns
    that is most of a pass's time. It is worth it only where a record is so large that its number of records
    would leave a batch of the others nearly empty.
    """
    most = ARROW_BYTES // largest
    settings = {
        "spark.sql.execution.arrow.maxRecordsPerBatch": _MOST_RECORDS,
        "spark.sql.execution.arrow.maxBytesPerBatch": ARROW_BYTES,
    }
    if most >= _FEWEST_RECORDS:
        settings = {
            "spark.sql.execution.arrow.maxRecordsPerBatch": min(_MOST_RECORDS, most),
            "spark.sql.execution.arrow.maxBytesPerBatch": 2**31 - 1,
        }
    before = {name: spark.conf.get(name) for name in settings}
    try:
        for name, value in settings.items():
            spark.conf.set(name, value)
        yield
    finally:
        for name, old in before.items():
            spark.conf.set(name, str(old))


class _Task:
    """One task's part of the pass."""

    def __init__(self, tables: Mapping[str, TableRows], repeats: _Repeats) -> None:
        self._tables = tables
        self._repeats = repeats
        self._writers = {name: FileWriter(table.layout) for name, table in tables.items()}
        self._by_reason: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._arrivals: list[npt.NDArray[np.int64]] = []
        self._last: dict[Partition, LastRecord] = {}

    def add(self, first: pa.Table) -> None:
        """Take records as they were first judged."""
        judged = self._repeats.worked_in(first)
        for name, table in self._tables.items():
            rows = table.rows_of(judged)
            if table.with_keys:
                rows = rows.append_column(KEY_HASH, _column(judged, KEY_HASH, SILVER))
            self._writers[name].add(rows)
        if "value" in judged.column_names:
            self._last = later(self._last, last_records(judged))
        self._by_reason = _most(self._by_reason + _counts(_column(judged, "reasons", REJECTED)))
        self._unknown = _most(self._unknown + _counts(judged["unknown"]))
        self._arrivals.append(_arrivals(judged))

    def close(self) -> Written:
        """Write the rest; gives everything."""
        arrivals = np.sort(np.concatenate([np.empty(0, np.int64), *self._arrivals]))
        ranks = min(len(arrivals), _MOST_RANKS)
        sample = arrivals[np.linspace(0, max(0, len(arrivals) - 1), ranks).round().astype(np.intp)]
        return Written(
            {name: list(writer.close()) for name, writer in self._writers.items()},
            self._by_reason,
            self._unknown,
            sample,
            np.full(ranks, len(arrivals) / ranks if ranks else 0.0),
            self._last,
        )


def _arrivals(judged: pa.Table) -> npt.NDArray[np.int64]:
    """Kafka's times of silver's records; those that no clock can have shown at the arrival say nothing.

    A producer may set the time of a record (CreateTime): to 0, to seconds, to a time far ahead.
    """
    times = _column(judged, "timestamp", SILVER).cast(pa.int64()).to_numpy()
    judged_at = _column(judged, "ingested_at", SILVER).cast(pa.int64()).to_numpy()
    found: npt.NDArray[np.int64] = times[(times >= _EARLIEST_ARRIVAL) & (times <= judged_at + _CLOCKS_DIFFER)]
    return found


def _column(judged: pa.Table, name: str, verdict: str) -> pa.ChunkedArray:
    return judged[name].filter(pc.equal(judged["verdict"], verdict))


def _counts(lists: pa.ChunkedArray) -> Counter[str]:
    """How often a text is in the lists; the most frequent _MOST_NAMES_OF_A_TASK."""
    found = pc.value_counts(pc.list_flatten(lists))
    if len(found) > _MOST_NAMES_OF_A_TASK:
        found = found.take(
            pc.select_k_unstable(found.field("counts"), _MOST_NAMES_OF_A_TASK, [("", "descending")])
        )
    return Counter({one["values"]: one["counts"] for one in found.to_pylist()})


def _most(counts: Counter[str]) -> Counter[str]:
    """The most frequent _MOST_NAMES_OF_A_TASK: names come from outside, there may be any number of them."""
    if len(counts) <= _MOST_NAMES_OF_A_TASK:
        return counts
    return Counter(dict(counts.most_common(_MOST_NAMES_OF_A_TASK)))


_DUPLICATE, _CONFLICT = 1, 2


class _Repeats:
    """Works duplicates and conflicts into the first verdicts."""

    def __init__(self, repeats: pa.Table) -> None:
        self._by_source: dict[tuple[str, int], tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]] = {}
        ordered = repeats.sort_by("offset")
        sources = ordered.group_by(["topic", "partition"]).aggregate([]).to_pylist()
        for source in sources:
            mine = ordered.filter(
                (pc.field("topic") == source["topic"]) & (pc.field("partition") == source["partition"])
            )
            is_conflict = pc.equal(mine["repeat"], "conflict").to_numpy()
            self._by_source[source["topic"], source["partition"]] = (mine["offset"].to_numpy(), is_conflict)

    def worked_in(self, first: pa.Table) -> pa.Table:
        """The records with their final verdicts and reasons."""
        repeat = self._repeat(first)
        if not repeat.any():
            return first
        is_conflict, is_duplicate = pa.array(repeat == _CONFLICT), pa.array(repeat == _DUPLICATE)
        verdict = pc.if_else(is_conflict, REJECTED, pc.if_else(is_duplicate, DUPLICATE, first["verdict"]))
        conflict = pa.array([[reasons.CONFLICT]], first.schema.field("reasons").type)
        choice = pa.concat_arrays([first["reasons"].combine_chunks(), conflict])
        faults = choice.take(pa.array(np.where(repeat == _CONFLICT, len(first), np.arange(len(first)))))
        names = first.schema.names
        first = first.set_column(names.index("verdict"), "verdict", verdict)
        return first.set_column(names.index("reasons"), "reasons", faults)

    def _repeat(self, first: pa.Table) -> npt.NDArray[np.int8]:
        """For each record: 0 for none, else _DUPLICATE or _CONFLICT."""
        result = np.zeros(len(first), dtype=np.int8)
        # A batch reads one incarnation of a topic.
        topic, partition, offset = (first[name] for name in ("topic", "partition", "offset"))
        for (its_topic, its_partition), (offsets, is_conflict) in self._by_source.items():
            here = pc.and_(pc.equal(topic, its_topic), pc.equal(partition, its_partition)).to_numpy()
            mine = np.flatnonzero(here)
            values = offset.to_numpy()[mine]
            at = np.minimum(np.searchsorted(offsets, values), len(offsets) - 1)
            found = offsets[at] == values
            result[mine[found]] = np.where(is_conflict[at[found]], _CONFLICT, _DUPLICATE)
        return result
