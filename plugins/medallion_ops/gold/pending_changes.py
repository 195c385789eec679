"""Asks whether gold has anything to do, from Delta's log and Postgres alone: no JVM, no Spark submission."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from medallion_contracts.grain import label_of
from medallion_contracts.model import Dataset
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.settings import Settings
from medallion_store.delta_history import silver_state
from medallion_store.label_source import label_source_version
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths
from medallion_store.postgres import ask_value, gold_connection
from medallion_store.publications import adopt_commit, last_published
from medallion_store.refresh_plan import (
    LabelSnapshot,
    Plan,
    Published,
    RefreshKind,
    SilverState,
    gold_contract_hash,
    plan,
)
from medallion_store.rejected_rows import rejections_in_force

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)


def next_write(settings: Settings, dataset: Dataset) -> Plan:
    """What the gold job would do now; kind `nothing` when it need not be submitted.

    Raises:
        ServiceUnavailable: the lake or Postgres does not answer.
        GoldError: Postgres refused a statement.
    """
    with gold_connection(settings.gold.dsn) as connection:
        published = last_published(connection, dataset.name)
        excluded = rejections_in_force(connection, dataset.name)
        labels = _labels(connection, dataset)
    storage = delta_storage_options(settings.lake.login)
    path = LakePaths(settings.lake.uri, dataset.name).silver
    silver = silver_state(path, storage, published)
    if silver is None:
        return Plan(RefreshKind.NONE, None, -1, "silver does not exist yet")
    published = _adopted(settings, published, silver)
    return plan(
        published,
        silver,
        gold_contract_hash(dataset),
        excluded=excluded,
        labels=labels,
        source_version=_label_source_version(settings.gold, dataset, storage),
    )


def _label_source_version(gold: GoldSettings, dataset: Dataset, storage: Mapping[str, str]) -> str | None:
    """State of the enrichment source; None for a dataset that takes nothing from it."""
    if label_of(dataset) is None:
        return None
    return label_source_version(gold.churn_source, storage, AskLabelSource(gold))


class AskLabelSource:
    """Asks the database of the enrichment source, with the login of the settings."""

    def __init__(self, gold: GoldSettings) -> None:
        self._login = {
            name: value
            for name, value in (
                ("user", gold.churn_username),
                ("password", gold.churn_password.reveal() if gold.churn_password else None),
            )
            if value
        }

    def __call__(self, parameters: Mapping[str, str], query: str) -> str | None:
        """The value of a query, None without an answer."""
        import psycopg

        try:
            return ask_value({**parameters, **self._login}, query)
        except psycopg.Error as error:
            log.warning(
                "the enrichment source does not answer (%s): its last labels stay", type(error).__name__
            )
            return None


def _adopted(settings: Settings, published: Published | None, silver: SilverState) -> Published | None:
    """A publication of before identities were kept adopts the commit that silver has in its place now."""
    if published is None or published.commit_id is not None or silver.published_commit_id is None:
        return published
    if silver.table_id != published.silver_table_id:
        return published
    with gold_connection(settings.gold.dsn) as connection:
        adopt_commit(connection, published.publication_id, silver.published_commit_id)
    log.info("the last publication adopts version %s of silver as its own", published.to_version)
    return replace(published, commit_id=silver.published_commit_id)


def _labels(connection: psycopg.Connection, dataset: Dataset) -> LabelSnapshot | None:
    row = connection.execute(
        "SELECT fingerprint, marker FROM gold.enrichment_snapshots WHERE dataset = %s", [dataset.name]
    ).fetchone()
    return LabelSnapshot(*row) if row else None
