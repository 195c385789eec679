"""Makes the lake's tables ready, and refuses a table that is gone while the others hold rows.

An empty table in the place of a lost one would let the stream go on as if nothing had been there: a silver
without rows repeats versions, a ledger without rows forgets offsets and watermarks. Tables are created before
the first record is read, so a lake where one is missing and another has rows was never left by a kill.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

from medallion_contracts.errors import MissingTable
from medallion_spark.lake.tables import StreamTables
from medallion_spark.stream.ledger import Ledger
from medallion_spark.stream.progress import ProgressTable

_log = logging.getLogger(__name__)

_FROM_BACKUP = (
    "put its folder back from a backup (README, Backup and restore). Without one its records are gone: to "
    "go on with what the topics still have, move the dataset's other tables and its checkpoint away too"
)


class _Table(Protocol):
    """What can be missing."""

    @property
    def path(self) -> str:
        """Where it is."""

    def exists(self) -> bool:
        """Whether it is there."""

    def has_rows(self) -> bool:
        """Whether it holds any."""


def prepare_lake(
    tables: StreamTables, ledger: Ledger, progress: ProgressTable, dataset: str, *, recovers: bool = False
) -> None:
    """Create the tables of an empty lake, and add the columns that their contracts have got since.

    Args:
        tables: of the dataset.
        ledger: of the dataset.
        progress: figures only: created again when it is gone.
        dataset: name of the dataset.
        recovers: whether a missing ledger is about to be made from bronze.

    Raises:
        MissingTable: one is gone while others hold rows; nothing was created.
        StreamError: a table has a column of another type, or is partitioned otherwise.
    """
    may_lack = ("ledger",) if recovers and tables.bronze.exists() else ()
    refuse_missing(tables, ledger, dataset, may_lack=may_lack)
    is_new = not ledger.has_rows()
    tables.prepare()
    if not may_lack:
        ledger.prepare()
    if not progress.exists() and not is_new:
        _log.warning("%s is gone: lag and rates of earlier batches are lost; no record is", progress.path)
    progress.prepare()


def refuse_missing(
    tables: StreamTables, ledger: Ledger, dataset: str, *, may_lack: Collection[str] = ()
) -> None:
    """Look whether a table is gone while others hold rows.

    Args:
        tables: of the dataset.
        ledger: of the dataset.
        dataset: its name.
        may_lack: names of the tables that the caller can do without.

    Raises:
        MissingTable: names each of them, with what to do.
    """
    named: dict[str, _Table] = {table.name: table for table in tables} | {"ledger": ledger}
    missing = [name for name, table in named.items() if name not in may_lack and not table.exists()]
    if not missing:
        return
    holding = [table.path for name, table in named.items() if name not in missing and table.has_rows()]
    if not holding:
        return
    rebuild = f"trigger {dataset}_rebuild (as-judged): it makes the table from bronze"
    remedies = {
        "bronze": _FROM_BACKUP,
        "silver": f"{rebuild}, and gold after it",
        "quarantine": rebuild,
        "ledger": f"run `python -m medallion_ops.control recover {dataset}`: the next driver makes it "
        "from bronze",
    }
    told = "; ".join(f"{named[name].path} is gone: {remedies[name]}" for name in missing)
    raise MissingTable(f"{told}. Nothing was created in its place, because {', '.join(holding)} hold rows")
