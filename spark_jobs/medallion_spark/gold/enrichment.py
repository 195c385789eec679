"""Labels from an external table: read, checked, and kept in gold as a snapshot with a fingerprint.

The source is somebody else's: it may be missing, half-written or wrong. Then the last snapshot stays, and the
run says so. Labels are never published from here: features take them, through the gate like everything else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import psycopg
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_contracts.compile.postgres import STAGING, create_staging, quoted, staging_name
from medallion_contracts.model import Column, ColumnType, Dataset
from medallion_spark.gold.copy import copy_in
from medallion_spark.gold.job_errors import SPARK_ERRORS, first_line
from medallion_spark.gold.staging import LABELS
from medallion_spark.session.secrets import secret
from medallion_store.label_source import (
    PASSWORD,
    USERNAME,
    is_csv,
    is_jdbc,
    jdbc_table,
    label_source_version,
    without_login,
)
from medallion_store.postgres import ask_value

log = logging.getLogger(__name__)
LABEL_NAMES = ("churned", "churn", "label")
LONGEST_KEY_BYTES = 2000
"""An entry of a Postgres index holds little more."""

_YES, _NO = ("yes", "true", "t", "1"), ("no", "false", "f", "0")
_STAGED = (
    Column("key", ColumnType.STRING, "Entity.", required=True),
    Column("label", ColumnType.BOOLEAN, "Label.", required=True),
)


class BrokenSource(Exception):
    """The enrichment source is missing or not usable; the last snapshot stays. Never leaves this package."""


@dataclass(frozen=True)
class Snapshot:
    """The labels in force: where they came from and what they are.

    `source_version` is the state of the source whose labels these are, `warning` why today's were not taken.
    """

    source: str | None
    source_version: str | None
    fingerprint: str | None
    labels: int
    warning: str | None = None

    def as_json(self) -> dict[str, object]:
        """For the manifest."""
        return asdict(self)


def source_version(source: str | None, storage_options: Mapping[str, str]) -> str | None:
    """State of the source now, see `label_source_version`."""
    return label_source_version(source, storage_options, _ask_postgres)


def _ask_postgres(parameters: Mapping[str, str], query: str) -> str | None:
    try:
        return ask_value({**parameters, **_login()}, query)
    except psycopg.Error:
        return None  # reading it will say why


def refresh(
    spark: SparkSession,
    connected: psycopg.Connection,
    dataset: Dataset,
    set_id: int,
    source: str | None,
    source_version: str | None,
    *,
    few_rows: int = 0,
) -> Snapshot:
    """Take the source's labels into gold if they changed; returns the snapshot in force after that.

    Up to `few_rows` labels go through the driver alone, see `copy_in`.

    Crash points: the snapshot is replaced in one transaction; what of it reaches gold is decided by
    comparing it with the published features, so a run that dies after this line loses nothing. A source that
    cannot be used is not remembered: each run tries again and warns, until it can.
    """
    stored = stored_snapshot(connected, dataset)
    if source is None:
        return stored
    shown = without_login(source)
    if source_version is not None and stored.source_version == source_version:
        log.info("enrichment: %s is unchanged, %s labels", shown, f"{stored.labels:,}")
        return stored
    try:
        labels = read_labels(spark, source, dataset.key)
        count, fingerprint = examine(labels, shown)
    except BrokenSource as broken:
        warning = f"{broken}; the last snapshot of {stored.labels:,} labels is used"
        log.warning("enrichment: %s", warning)
        return replace(stored, warning=warning)
    fresh = Snapshot(shown, source_version, fingerprint, count)
    if fingerprint == stored.fingerprint:
        _record(connected, dataset, fresh)
    else:
        _replace(connected, dataset, set_id, labels, fresh, few=count <= few_rows)
    log.info("enrichment: %s has %s labels", shown, f"{count:,}")
    return fresh


def read_labels(spark: SparkSession, source: str, key: str) -> DataFrame:
    """The source as (key, label text, label boolean), every row of it.

    The key is a column named like the entity's (`customer_id`, `customerID`, `customer`), or `key` or `id`,
    the label one like `churn` or `churned`.

    Raises:
        BrokenSource: it cannot be read, or has no such columns.
    """
    shown = without_login(source)
    try:
        raw = _open(spark, source)
        names = {name.lower().replace("_", ""): name for name in raw.columns}
    except SPARK_ERRORS as error:
        raise BrokenSource(f"{shown} cannot be read: {first_line(error)}") from error
    short = key.replace("_", "")
    candidates = (short, short.removesuffix("id"), "key", "id")
    found_key = next((names[name] for name in candidates if name in names), None)
    label = next((names[name] for name in LABEL_NAMES if name in names), None)
    if found_key is None or label is None:
        # Without a header its "names" are somebody's row: they are not told.
        missing = [name for name, found in ((key, found_key), ("churned", label)) if found is None]
        raise BrokenSource(
            f"{shown} needs a column {key} and a column churned, named in its header: "
            f"none of its {len(raw.columns)} is {' or '.join(missing)}"
        )
    text = F.lower(F.trim(F.col(f"`{label}`").cast("string")))
    return raw.select(
        F.trim(F.col(f"`{found_key}`").cast("string")).alias("key"),
        text.alias("text"),
        F.when(text.isin(*_YES), True).when(text.isin(*_NO), False).alias("label"),
    )


def _open(spark: SparkSession, source: str) -> DataFrame:
    if is_jdbc(source):
        url, table = jdbc_table(source)
        if not table:
            raise BrokenSource(f"{without_login(source)} must name its table: add ?table=schema.name")
        return spark.read.format("jdbc").options(url=url, dbtable=table, **_login()).load()
    if is_csv(source):
        return spark.read.option("header", "true").option("mode", "FAILFAST").csv(source)
    return spark.read.format("delta").load(source)


def _login() -> dict[str, str]:
    """User and password for a database, as the secrets file has them; the names suit JDBC and libpq."""
    return {
        name: value
        for name, setting in (("user", USERNAME), ("password", PASSWORD))
        if (value := secret(setting))
    }


def examine(labels: DataFrame, shown: str) -> tuple[int, str]:
    """Number and fingerprint of the distinct labels.

    Raises:
        BrokenSource: they cannot be used; names all that is wrong with them.
    """
    by_key = labels.groupBy("key").agg(F.min("label").alias("label"), F.max("label").alias("other"))
    try:
        [found] = by_key.agg(
            F.count("key").alias("keys"),
            F.count_if(F.col("label") != F.col("other")).alias("contradictory"),
            F.coalesce(F.sum(F.xxhash64("key", "label").cast("decimal(38,0)")), F.lit(0)).alias("sum"),
        ).collect()
        [bad] = labels.agg(
            F.count_if(F.col("key").isNull() | (F.col("key") == "")).alias("keyless"),
            F.count_if(F.contains("key", F.lit("\0")) | (F.octet_length("key") > LONGEST_KEY_BYTES)).alias(
                "impossible"
            ),
            F.count_if(F.col("label").isNull() & (F.col("text") != "")).alias("unreadable"),
            F.count_if(F.col("text").isNull() | (F.col("text") == "")).alias("empty"),
        ).collect()
    except SPARK_ERRORS as error:
        raise BrokenSource(f"{shown} cannot be read: {first_line(error)}") from error
    problems = [
        f"{bad['keyless']:,} rows without a key" if bad["keyless"] else "",
        f"{bad['impossible']:,} keys that Postgres cannot store" if bad["impossible"] else "",
        f"{bad['unreadable']:,} labels that are neither yes nor no" if bad["unreadable"] else "",
        f"{bad['empty']:,} rows without a label" if bad["empty"] else "",
        f"{found['contradictory']:,} keys with both labels" if found["contradictory"] else "",
        "no rows" if not found["keys"] else "",
    ]
    if any(problems):
        raise BrokenSource(f"{shown} has " + ", ".join(filter(None, problems)))
    return int(found["keys"]), f"{found['keys']}:{found['sum']}"


def stored_snapshot(connected: psycopg.Connection, dataset: Dataset) -> Snapshot:
    """The labels that gold keeps now."""
    row = connected.execute(
        "SELECT source, marker, fingerprint, labels FROM gold.enrichment_snapshots WHERE dataset = %s",
        [dataset.name],
    ).fetchone()
    return Snapshot(*row) if row else Snapshot(None, None, None, 0)


def _replace(
    connected: psycopg.Connection,
    dataset: Dataset,
    set_id: int,
    labels: DataFrame,
    fresh: Snapshot,
    *,
    few: bool,
) -> None:
    table = quoted(STAGING, staging_name(set_id, LABELS))
    connected.execute(create_staging(staging_name(set_id, LABELS), _STAGED).encode())
    by_key = labels.groupBy("key").agg(F.first("label").alias("label"))
    copy_in(by_key, set_id, LABELS, _STAGED, few=few)
    with connected.transaction():
        connected.execute(
            "INSERT INTO gold.enrichment_snapshots (dataset) VALUES (%s) ON CONFLICT DO NOTHING",
            [dataset.name],
        )
        connected.execute("DELETE FROM gold.enrichment_labels WHERE dataset = %s", [dataset.name])
        connected.execute(
            f"INSERT INTO gold.enrichment_labels SELECT %s, key, label FROM {table}".encode(), [dataset.name]
        )
        _record(connected, dataset, fresh)
    connected.execute(f"DROP TABLE {table}".encode())


def _record(connected: psycopg.Connection, dataset: Dataset, snapshot: Snapshot) -> None:
    connected.execute(
        "INSERT INTO gold.enrichment_snapshots (dataset, source, marker, fingerprint, labels) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (dataset) DO UPDATE SET source = excluded.source, "
        "marker = excluded.marker, fingerprint = excluded.fingerprint, labels = excluded.labels, "
        "loaded_at = clock_timestamp()",
        [dataset.name, snapshot.source, snapshot.source_version, snapshot.fingerprint, snapshot.labels],
    )
