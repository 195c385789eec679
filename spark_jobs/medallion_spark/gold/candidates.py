"""Copies candidate rows into a set's staging tables, and reads the labels that features take."""

from __future__ import annotations

import logging
import time

from pyspark.sql import DataFrame, SparkSession

from medallion_contracts.compile.postgres import STAGING, literal, quoted, staging_name
from medallion_contracts.model import Column, ColumnType, Table
from medallion_spark.gold import customers
from medallion_spark.gold.copy import copy_in, fetch
from medallion_store.staging_sets import staged_tables

log = logging.getLogger(__name__)
DATASET = customers.DATASET


def copy_versions(with_history_facts: DataFrame, labels: DataFrame, set_id: int) -> dict[str, int]:
    """Copy history, customers and features; gives the rows by table."""
    copied = copy_table(customers.history(with_history_facts), set_id, customers.HISTORY.name)
    copied |= copy_table(customers.customers(with_history_facts), set_id, customers.CUSTOMERS.name)
    features = customers.features(with_history_facts, labels)
    return copied | copy_table(features, set_id, customers.FEATURES.name)


def copy_table(frame: DataFrame, set_id: int, name: str) -> dict[str, int]:
    """Copy a frame into a staging table; gives its rows by the table's name."""
    started = time.monotonic()
    rows = copy_in(frame, set_id, name, staged_tables(DATASET)[name])
    log.info(
        "staging.%s: %s rows in %.1f s", staging_name(set_id, name), f"{rows:,}", time.monotonic() - started
    )
    return {name: rows}


def fetch_labels(spark: SparkSession, touched: str | None = None) -> DataFrame:
    """Labels of all entities, or of those in a staged list (its quoted name)."""
    key = customers.FEATURES.column(DATASET.key)
    label = Column(customers.LABEL, ColumnType.BOOLEAN, "Label.")
    query = (
        f"SELECT l.key AS {quoted(key.name)}, l.label AS {quoted(label.name)} "
        f"FROM gold.enrichment_labels AS l WHERE l.dataset = {literal(DATASET.name)}"
    )
    if touched is not None:
        query += f" AND l.key IN (SELECT {quoted(key.name)} FROM {touched})"
    return fetch(spark, query, Table("labels", "", (key, label), (key.name,), (), (), (), ""))


def staged(set_id: int, name: str) -> str:
    """Quoted name of a set's staging table."""
    return quoted(STAGING, staging_name(set_id, name))
