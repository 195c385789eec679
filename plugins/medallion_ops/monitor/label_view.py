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
    if newest is None:  # gold has not begun
        return None
    if (newest[0] or {}).get("fingerprint") is None and not (newest[0] or {}).get("warning"):
        return None  # this dataset takes no labels
    storage = delta_storage_options(settings.lake.login)
    missing = label_source_problem(settings.gold.churn_source, storage, AskLabelSource(settings.gold))
    # A source that is there and was of no use: what the job said of it when it last read it.
    return missing or (newest[0] or {}).get("warning")
