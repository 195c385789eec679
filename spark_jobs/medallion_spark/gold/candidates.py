"""Copies candidate rows into a set's staging tables, and reads the labels that features take."""

from __future__ import annotations

import logging
import time

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.compile.postgres import STAGING, literal, quoted, staging_name
from medallion_contracts.compile.spark import spark_schema
from medallion_contracts.grain import label_of
from medallion_contracts.model import Column, ColumnType, Dataset, Table
from medallion_spark.gold.copy import copy_in, fetch
from medallion_store.staging_sets import staged_tables

log = logging.getLogger(__name__)


def copy_tables(
    frames: dict[str, DataFrame], dataset: Dataset, set_id: int, *, few: bool = False
) -> dict[str, int]:
    """Copy frames into the staging tables of their names; gives the rows by name.

    `few` rows are copied by the driver, see `copy_in`.
    """
    staged_columns, rows = staged_tables(dataset), {}
    for name, frame in frames.items():
        started = time.monotonic()
        rows[name] = copy_in(frame, set_id, name, staged_columns[name], few=few)
        log.info(
            "staging.%s: %s rows in %.1f s",
            staging_name(set_id, name),
            f"{rows[name]:,}",
            time.monotonic() - started,
        )
    return rows


def fetch_labels(
    spark: SparkSession, dataset: Dataset, touched: str | None = None, *, few: bool = False
) -> DataFrame | None:
    """The key and the label of all entities, or of those in a staged list (its quoted name).

    None where the dataset has no label.
    """
    labelled = label_of(dataset)
    if labelled is None:
        return None
    key = Column(dataset.key, ColumnType.STRING, "Entity.")
    label = Column(labelled[1].name, ColumnType.BOOLEAN, "Label.")
    query = (
        f"SELECT l.key AS {quoted(key.name)}, l.label AS {quoted(label.name)} "
        f"FROM gold.enrichment_labels AS l WHERE l.dataset = {literal(dataset.name)}"
    )
    if touched is not None:
        query += f" AND l.key IN (SELECT {quoted(key.name)}::text FROM {touched})"
    labels = fetch(spark, query, Table("labels", "", (key, label), (key.name,), (), (), (), ""), few=few)
    # The source's keys are text, whatever the entity's are: one that is no such key is no one's.
    kind = spark_schema(dataset.events)[dataset.key].dataType
    return labels.withColumn(key.name, F.col(key.name).try_cast(kind))


def staged(set_id: int, name: str) -> str:
    """Quoted name of a set's staging table."""
    return quoted(STAGING, staging_name(set_id, name))
