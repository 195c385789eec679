"""What the page shows of the lake and of gold's size, kept in Postgres by each look of the monitor.

Safe to run twice: rows are keyed by what they describe. A look killed before its commit leaves the facts of
the look before; the next one reads the same ledger rows again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from medallion_contracts.compile.postgres import GOLD, quoted
from medallion_contracts.model import Dataset
from medallion_ops.gate.masking import masked
from medallion_store.delta_history import rows_since
from medallion_store.lake_paths import LakePaths
from medallion_store.lake_reading import lake_reading

if TYPE_CHECKING:
    import psycopg

KEPT = timedelta(days=2)
COUNT_AGAIN = timedelta(days=1)
"""How often the whole log of a lake table is read for its rows."""
SAMPLES_A_REASON = 3
LAKE_LAYERS = ("bronze", "silver", "quarantine")
_READ_AT_ONCE = 200
_LONGEST_VALUE = 1_000_000
_BATCH = (
    "sequence, committed_at, duration_seconds, read, silver, duplicate, late, rejected, gaps, lost, "
    "event_to_silver_p95"
)


def record_batches(
    connection: psycopg.Connection, dataset: str, ledger_rows: Iterable[Mapping[str, Any]], now: datetime
) -> None:
    """Copy new rows of the ledger, and drop those older than KEPT.

    Args:
        connection: to gold, as the writer.
        dataset: its name.
        ledger_rows: rows as the ledger has them.
        now: UTC.
    """
    names = _BATCH.split(", ")
    marks = ", ".join(["%s"] * (len(names) + 2))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO audit.micro_batches (dataset, {_BATCH}, rejected_by_reason) VALUES ({marks}) "
            "ON CONFLICT DO NOTHING".encode(),
            [
                [
                    dataset,
                    *(row[name] or 0 if name in names[3:10] else row[name] for name in names),
                    json.dumps(dict(row["rejected_by_reason"] or {})),
                ]
                for row in ledger_rows
            ],
        )
    connection.execute(
        "DELETE FROM audit.micro_batches WHERE dataset = %s AND committed_at < %s", [dataset, now - KEPT]
    )


def record_lake_rows(
    connection: psycopg.Connection,
    paths: LakePaths,
    storage: Mapping[str, str],
    now: datetime,
) -> None:
    """Count the rows of the lake's tables, from their logs alone.

    A look adds what the commits since the last one brought; the whole of a log is read once a day, and where
    those commits do not tell (after a rebuild, a restored backup).

    Args:
        connection: to gold, as the writer.
        paths: of the dataset.
        storage: login of the lake.
        now: UTC.

    Raises:
        DamagedLog: a commit file of a table's log is cut short.
        ServiceUnavailable: the lake does not answer.
    """
    from deltalake.exceptions import TableNotFoundError

    for layer in LAKE_LAYERS:
        key, path = (paths.dataset, layer, layer), getattr(paths, layer)
        try:
            if not _add_new_rows(connection, key, path, storage, now):
                rows, version = _all_rows(path, storage)
                _keep_count(connection, key, rows, now, version)
        except TableNotFoundError:
            continue  # not yet


def _add_new_rows(
    connection: psycopg.Connection,
    key: tuple[str, str, str],
    path: str,
    storage: Mapping[str, str],
    now: datetime,
) -> bool:
    """Add the rows of the commits since the last look; False when all must be counted."""
    known = connection.execute(
        "SELECT row_count, table_version FROM audit.table_rows WHERE dataset = %s AND layer = %s "
        "AND table_name = %s AND table_version IS NOT NULL AND read_at > %s",
        [*key, now - COUNT_AGAIN],
    ).fetchone()
    since = rows_since(path, storage, known[1]) if known else None
    if known is None or since is None:
        return False
    connection.execute(
        "UPDATE audit.table_rows SET row_count = %s, table_version = %s, counted_at = %s "
        "WHERE dataset = %s AND layer = %s AND table_name = %s",
        [known[0] + since[0], since[1], now, *key],
    )
    return True


def record_gold_rows(connection: psycopg.Connection, dataset: Dataset, now: datetime) -> None:
    """Count the rows of gold's tables, if there was a publication since they were counted.

    Args:
        connection: to gold, as the writer.
        dataset: its contracts.
        now: UTC.
    """
    row = connection.execute(
        "SELECT coalesce(max(p.published_at) > (SELECT min(counted_at) FROM audit.table_rows "
        "WHERE dataset = %(dataset)s AND layer = 'gold'), max(p.published_at) IS NOT NULL) "
        "FROM gold.publications AS p WHERE p.dataset = %(dataset)s",
        {"dataset": dataset.name},
    ).fetchone()
    if row is None or not row[0]:
        return
    for table in dataset.gold:
        counted = connection.execute(f"SELECT count(*) FROM {quoted(GOLD, table)}".encode()).fetchone()
        _keep_count(connection, (dataset.name, "gold", table), int(counted[0]) if counted else 0, now)


def _keep_count(
    connection: psycopg.Connection,
    key: tuple[str, str, str],
    count: int,
    now: datetime,
    version: int | None = None,
) -> None:
    connection.execute(
        "INSERT INTO audit.table_rows "
        "(dataset, layer, table_name, row_count, counted_at, table_version, read_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (dataset, layer, table_name) "
        "DO UPDATE SET row_count = excluded.row_count, counted_at = excluded.counted_at, "
        "table_version = excluded.table_version, read_at = excluded.read_at",
        [*key, count, now, version, now],
    )


def _all_rows(path: str, storage: Mapping[str, str]) -> tuple[int, int]:
    """A table's rows and version, from its whole log."""
    from deltalake import DeltaTable

    with lake_reading(path, storage):
        table = DeltaTable(path, storage_options=dict(storage))
        actions = table.get_add_actions(flatten=True)
        return sum(one or 0 for one in actions.column("num_records").to_pylist()), table.version()


def record_samples(
    connection: psycopg.Connection,
    dataset: Dataset,
    paths: LakePaths,
    storage: Mapping[str, str],
) -> None:
    """Keep masked examples of the newest quarantined records, a few for each reason.

    Args:
        connection: to gold, as the writer.
        dataset: its contracts.
        paths: of the dataset.
        storage: login of the lake.

    Raises:
        ServiceUnavailable: the lake does not answer.
    """
    fields = [column.name for column in dataset.events.columns]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO audit.quarantine_samples VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                [
                    dataset.name,
                    row["topic"],
                    row["partition"],
                    row["offset"],
                    row["quarantined_at"],
                    row["reasons"] or [row["verdict"]],
                    json.dumps(shape(row["value"], fields)),
                ]
                for row in _newest_quarantined(paths.quarantine, storage)
            ],
        )
    connection.execute(
        "DELETE FROM audit.quarantine_samples WHERE dataset = %s "
        "AND (topic, partition_id, record_offset) NOT IN ("
        "SELECT topic, partition_id, record_offset FROM (SELECT *, row_number() OVER ("
        "PARTITION BY reasons ORDER BY quarantined_at DESC, record_offset DESC) AS place "
        "FROM audit.quarantine_samples WHERE dataset = %s) AS ranked WHERE place <= %s)",
        [dataset.name, dataset.name, SAMPLES_A_REASON],
    )


def _newest_quarantined(path: str, storage: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    """Rows of the newest data file: what a whole table holds is never read."""
    import pyarrow.compute as pc
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    columns = ["topic", "partition", "offset", "quarantined_at", "verdict", "reasons", "value"]
    try:
        with lake_reading(path, storage):
            table = DeltaTable(path, storage_options=dict(storage))
            newest = max(
                table.get_add_actions(flatten=True).column("max.quarantined_at").to_pylist(), default=None
            )
            if newest is None:
                return
            found = table.to_pyarrow_dataset().scanner(
                columns=columns, filter=pc.field("quarantined_at") >= newest, batch_size=_READ_AT_ONCE
            )
            yield from found.head(_READ_AT_ONCE).to_pylist()
    except TableNotFoundError:
        return


def shape(value: bytes | None, fields: Iterable[str]) -> dict[str, str]:
    """The masked values of a record, by the contract's fields; other names are counted, not shown.

    Args:
        value: the record's bytes.
        fields: names of the contract.
    """
    if value is None:
        return {"": "null"}
    try:
        content = json.loads(value) if len(value) <= _LONGEST_VALUE else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        return {"": masked(value[:200].decode("utf-8", "replace")) + f" ({len(value)} bytes)"}
    known = {name: masked(content[name]) for name in fields if name in content}
    others = len(content) - len(known)
    return known | ({"other fields": str(others)} if others else {})
