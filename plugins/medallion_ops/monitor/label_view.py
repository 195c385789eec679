"""Whether the enrichment source of a dataset can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medallion_ops.gold.pending_changes import AskLabelSource
from medallion_ops.settings import Settings
from medallion_store.label_source import label_source_problem
from medallion_store.lake_login import delta_storage_options

if TYPE_CHECKING:
    import psycopg


def label_problem(connection: psycopg.Connection, settings: Settings, dataset: str) -> str | None:
    """Why the labels of a dataset are not today's; None when they are, or it has none.

    Args:
        connection: to gold, as the writer.
        settings: of the platform.
        dataset: its name.
    """
    newest = connection.execute(
        "SELECT enrichment FROM staging.manifests WHERE dataset = %s ORDER BY set_id DESC LIMIT 1", [dataset]
    ).fetchone()
    last = (newest[0] if newest else None) or {}
    warning: str | None = last.get("warning")
    if not warning and last.get("source_version") is None:
        # No labels, not yet any, or a source that only the job can read, and did.
        return None
    storage = delta_storage_options(settings.lake.login)
    missing = label_source_problem(settings.gold.churn_source, storage, AskLabelSource(settings.gold))
    # The source is there, but the job could not use it: its reason from the last time it was read.
    return missing or warning
