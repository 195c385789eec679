"""Asks whether gold has anything to do, from Delta's log and Postgres alone: no JVM, no Spark submission."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medallion_contracts.compile_postgres import AUDIT, quoted
from medallion_contracts.errors import ServiceUnavailable
from medallion_contracts.increment import (
    PUBLISHED_QUERY,
    Commit,
    Kind,
    LabelSnapshot,
    Plan,
    Published,
    SilverState,
    csv_marker,
    delta_marker,
    gold_contract_hash,
    is_csv,
    plan,
)
from medallion_contracts.lake import LakePaths
from medallion_contracts.model import Dataset
from medallion_ops.gold_database import gold_connection
from medallion_ops.lake_files import delta_storage_options
from medallion_ops.settings import LakeSettings, Settings

if TYPE_CHECKING:
    import psycopg


def next_write(settings: Settings, dataset: Dataset) -> Plan:
    """What the gold job would do now; kind `nothing` when it need not be submitted.

    Raises:
        ServiceUnavailable: the lake or Postgres does not answer.
        GoldError: Postgres refused a statement.
    """
    with gold_connection(settings.gold.dsn) as connection:
        published = _last_published(connection, dataset)
        excluded = _rejected_in_force(connection, dataset)
        labels = _labels(connection, dataset)
    silver = silver_state(settings.lake, dataset, published.to_version if published else None)
    if silver is None:
        return Plan(Kind.NOTHING, None, -1, "silver does not exist yet")
    return plan(
        published,
        silver,
        gold_contract_hash(dataset),
        excluded=excluded,
        labels=labels,
        marker=_marker(settings),
    )


def silver_state(lake: LakeSettings, dataset: Dataset, since: int | None) -> SilverState | None:
    """Identity, newest version and history of silver; None when there is no such table yet.

    Args:
        lake: where silver is.
        dataset: the dataset.
        since: the history is read back to the version after this one; None for all of it.

    Raises:
        ServiceUnavailable: the lake does not answer.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    path = LakePaths(lake.uri, dataset.name).silver
    try:
        table = DeltaTable(path, storage_options=delta_storage_options(lake))
        version = table.version()
        missing = version - (-1 if since is None else since)
        commits = table.history(missing) if missing > 0 else []
        table_id = str(table.metadata().id)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise ServiceUnavailable(
            f"silver at {path} cannot be read (setting MEDALLION_LAKE_URI): {error}"
        ) from error
    return SilverState(
        table_id=table_id,
        version=version,
        commits=tuple(
            Commit.from_history(
                entry["version"],
                entry.get("operation", ""),
                entry.get("operationParameters") or {},
                entry.get("operationMetrics") or {},
            )
            for entry in commits
        ),
    )


def _last_published(connection: psycopg.Connection, dataset: Dataset) -> Published | None:
    row = connection.execute(PUBLISHED_QUERY, [dataset.name]).fetchone()
    return Published.from_row(row) if row else None


def _rejected_in_force(connection: psycopg.Connection, dataset: Dataset) -> list[int]:
    table = quoted(AUDIT, "rejected_rows")
    query = f"SELECT rejection_id FROM {table} WHERE dataset = %s AND released_at IS NULL"
    rows = connection.execute(query, [dataset.name])
    return [row[0] for row in rows]


def _labels(connection: psycopg.Connection, dataset: Dataset) -> LabelSnapshot | None:
    row = connection.execute(
        "SELECT fingerprint, marker FROM gold.enrichment_snapshots WHERE dataset = %s", [dataset.name]
    ).fetchone()
    return LabelSnapshot(*row) if row else None


def _marker(settings: Settings) -> str | None:
    """State of the enrichment source; None when it cannot be told cheaply, or the source is not there.

    A database source, or a CSV file in the cloud, is read with the next new silver.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    source = settings.gold.churn_source
    if source is None or source.startswith("jdbc:"):
        return None
    if is_csv(source):
        return csv_marker(source)
    try:
        table = DeltaTable(source, storage_options=delta_storage_options(settings.lake))
    except (DeltaError, OSError):
        return None
    return delta_marker(str(table.metadata().id), table.version())
