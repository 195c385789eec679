"""What the nightly maintenance asks of Postgres: the published version, and dropping staging tables."""

from __future__ import annotations

import logging

from medallion_ops.gold_settings import GoldSettings
from medallion_store.postgres import gold_connection
from medallion_store.publications import last_publication
from medallion_store.staging_sets import drop_sets_up_to

log = logging.getLogger(__name__)


def published_silver_version(dataset: str, gold: GoldSettings) -> int | None:
    """The version of silver that gold was last published from; None before the first publication."""
    with gold_connection(gold.dsn) as connection:
        published = last_publication(connection, dataset)
    return None if published is None else published.to_version


def drop_published_sets(dataset: str, gold: GoldSettings) -> list[int]:
    """Drop the staging tables of sets up to the last published one; gives the ids of those dropped.

    Their rows are in gold, or another set's took their place. A newer set may be waiting for a person's
    decision and stays. A table that somebody reads is left to the next day.
    """
    with gold_connection(gold.dsn) as connection:
        published = last_publication(connection, dataset)
        if published is None:
            return []
        return drop_sets_up_to(connection, dataset, published.set_id)
