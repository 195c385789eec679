"""Reads Delta's log without Spark, in a second: what silver is now.

The gold job and Airflow both ask here, so that they decide alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from medallion_contracts.errors import ServiceUnavailable
from medallion_store.refresh_plan import Commit, SilverState


def silver_state(path: str, storage_options: Mapping[str, str], since: int | None) -> SilverState | None:
    """Identity, newest version and history of silver; None when there is no such table yet.

    Args:
        path: of the silver table.
        storage_options: how to log in to the lake; empty for a folder.
        since: the history is read back to the version after this one; None for all of it.

    Raises:
        ServiceUnavailable: the lake does not answer.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        table = DeltaTable(path, storage_options=dict(storage_options))
        version = table.version()
        missing = version - (-1 if since is None else since)
        commits = table.history(missing) if missing > 0 else []
        table_id = str(table.metadata().id)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ServiceUnavailable(
            f"silver at {path} cannot be read ({reason}): check that the lake answers and MEDALLION_LAKE_URI"
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
