"""Finds what a micro-batch repeats, of itself and of silver.

A data file never changes, so the driver remembers the hashes of the keys in each file that it wrote or looked
into: a batch opens only files that it does not know, or that hold a key of its own. What is remembered is
bounded; what is forgotten, or was never known, is read again, a bounded number of rows at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.model import Dataset
from medallion_spark.lake import silver_partitions
from medallion_spark.lake.data_files import FILE_NUMBER, KEY_HASH, DataFile, read_data_files
from medallion_spark.lake.incarnations import with_incarnation
from medallion_spark.lake.silver_at_contract import DEFAULTED, at_todays_contract
from medallion_spark.lake.tables import LakeTable
from medallion_spark.stream.batch_balance import SILVER
from medallion_spark.verdicts import deduplicate
from medallion_spark.verdicts.deduplicate import COORDINATES, REPEATS

MOST_REMEMBERED = 8_000_000
"""Hashes that are remembered: 64 MB."""
_A_FILE_TAKES = 64
"""What a file takes beside its hashes, counted in hashes."""
ROWS_AT_ONCE = 2_000_000
"""Rows of silver whose hashes come to the driver together."""

Hashes = npt.NDArray[np.int64]


class SilverKeys:
    """Hashes of the keys in silver's data files, by path; those not asked for longest are forgotten first."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._size = 0
        self._by_path: OrderedDict[str, Hashes] = OrderedDict()

    def add(self, path: str, hashes: Hashes) -> None:
        """Remember a file."""
        if path in self._by_path:
            return
        self._by_path[path] = hashes
        self._size += len(hashes) + _A_FILE_TAKES
        while self._size > self._most:
            _, forgotten = self._by_path.popitem(last=False)
            self._size -= len(forgotten) + _A_FILE_TAKES

    def get(self, path: str) -> Hashes | None:
        """What the file holds; None when that is not known."""
        found = self._by_path.get(path)
        if found is not None:
            self._by_path.move_to_end(path)
        return found


class RepeatSearch:
    """The search of one stream.

    Args:
        spark: the session.
        dataset: its contracts.
        silver: the table.
        latest_only: whether only an entity's newest version of a batch is kept (`--deduplicate latest`).
    """

    def __init__(
        self, spark: SparkSession, dataset: Dataset, silver: LakeTable, *, latest_only: bool = False
    ) -> None:
        self._spark = spark
        self._dataset = dataset
        self._silver = silver
        self._latest_only = latest_only
        self._keys = SilverKeys()

    def remember(self, files: Iterable[DataFile]) -> None:
        """Remember what the files hold that were written to silver."""
        for file in files:
            if file.key_hashes is not None:
                self._keys.add(file.path, file.key_hashes)

    def find(self, first: DataFrame, hours: pa.Table) -> pa.Table:
        """The candidates that repeat a version, in the schema REPEATS.

        They are fetched, so that the plans made of them do not look for them again.

        Args:
            first: held in memory; `verdict`, coordinates, `fields`, and KEY_HASH of the candidates.
            hours: of the batch's summary.
        """
        candidates = first.where(F.col("verdict") == SILVER).select(*COORDINATES, "fields", KEY_HASH)
        repeats = self._exact_repeats(candidates, hours)
        if not self._latest_only:
            return repeats
        # One that is no silver row (a conflict) takes no other's place.
        accepted = candidates.join(
            F.broadcast(self._spark.createDataFrame(repeats)), list(COORDINATES), "left_anti"
        )
        superseded = deduplicate.find_superseded(accepted, self._dataset).toArrow().cast(REPEATS)
        return pa.concat_tables([repeats, superseded])

    def _exact_repeats(self, candidates: DataFrame, hours: pa.Table) -> pa.Table:
        hashes, times = np.unique(
            candidates.select(KEY_HASH).toArrow()[KEY_HASH].to_numpy(), return_counts=True
        )
        suspects, files = [hashes[times > 1]], []
        for path, hit in self._hits(self._touched_files(hours), hashes):
            suspects.append(hit)
            files.append(path)
        suspected = np.unique(np.concatenate(suspects))
        if not len(suspected):
            return REPEATS.empty_table()
        repeats = deduplicate.find_repeats(
            candidates,
            self._rows(files),
            F.broadcast(self._spark.createDataFrame(pa.table({KEY_HASH: suspected}))),
            self._dataset,
        )
        return repeats.toArrow().cast(REPEATS)

    def _touched_files(self, hours: pa.Table) -> Mapping[str, int]:
        """Silver's files, as of now, that may hold what the batch repeats, with their numbers of rows."""
        touched = silver_partitions.touched_partitions(hours, self._dataset)
        found = silver_partitions.touched_files(self._silver.files(), touched, self._dataset.event_time)
        if not len(found):
            return {}
        return dict(zip(found["path"].to_pylist(), found["num_records"].to_pylist(), strict=True))

    def _hits(self, files: Mapping[str, int], hashes: Hashes) -> Iterator[tuple[str, Hashes]]:
        """The files that hold some of the hashes, and which."""
        known = {path: self._keys.get(path) for path in files}
        yield from _common([(path, held) for path, held in known.items() if held is not None], hashes)
        unknown = [path for path, held in known.items() if held is None]
        for paths in _groups(unknown, files):
            found = self._look_into(paths)
            for path, held in found:
                self._keys.add(path, held)
            yield from _common(found, hashes)

    def _look_into(self, paths: Sequence[str]) -> list[tuple[str, Hashes]]:
        keys = (self._dataset.key, self._dataset.event_time)
        rows = read_data_files(self._spark, self._silver.layout, paths, keys, with_file_number=True)
        key_hash = deduplicate.key_hash(self._dataset).alias(KEY_HASH)
        found = (
            rows.select(FILE_NUMBER, F.struct(*keys).alias("fields")).select(FILE_NUMBER, key_hash).toArrow()
        )
        numbers = found[FILE_NUMBER].to_numpy()
        order = np.argsort(numbers, kind="stable")
        ends = np.searchsorted(numbers[order], np.arange(1, len(paths)))
        held = np.split(found[KEY_HASH].to_numpy()[order], ends)
        # Copies: a part of a whole would keep all of it.
        return [(path, part.copy()) for path, part in zip(paths, held, strict=True)]

    def _rows(self, files: Sequence[str]) -> DataFrame | None:
        """Silver's rows as records of today's contract: coordinates and `fields`; None without files."""
        if not files:
            return None
        names, at = self._dataset.events.column_names, {name: f"_{name}" for name in COORDINATES}
        wanted = [*at.values(), *names, DEFAULTED]
        rows = with_incarnation(read_data_files(self._spark, self._silver.layout, files, wanted))
        return at_todays_contract(rows, self._dataset).select(
            *(F.col(stored).alias(name) for name, stored in at.items()), F.struct(*names).alias("fields")
        )


def _groups(paths: Sequence[str], rows: Mapping[str, int]) -> Iterator[list[str]]:
    """The files in groups of about ROWS_AT_ONCE rows."""
    group: list[str] = []
    so_far = 0
    for path in paths:
        group.append(path)
        so_far += rows[path] or ROWS_AT_ONCE  # a file without statistics may be large
        if so_far >= ROWS_AT_ONCE:
            yield group
            group, so_far = [], 0
    if group:
        yield group


def _common(files: Sequence[tuple[str, Hashes]], hashes: Hashes) -> Iterator[tuple[str, Hashes]]:
    """The files that hold some of the hashes (sorted, distinct), and which; compared all at once."""
    if not files or not len(hashes):
        return
    held = np.concatenate([one for _, one in files])
    at = np.minimum(np.searchsorted(hashes, held), len(hashes) - 1)
    hits = np.flatnonzero(hashes[at] == held)
    if not len(hits):
        return
    ends = np.cumsum([len(one) for _, one in files])
    owners, starts = np.unique(np.searchsorted(ends, hits, side="right"), return_index=True)
    for owner, mine in zip(owners, np.split(hits, starts[1:]), strict=True):
        yield files[owner][0], held[mine]
