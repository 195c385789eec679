"""Rebuilds of a test lake, by the product's own class."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from kafka_log import TestLake, event, log_of
from medallion_contracts.model import Dataset
from medallion_spark.rebuild.rebuild import Rebuild, Rebuilt
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream.options import StreamOptions

FIRST = log_of([event("c1", 0), event("c2", 0, tenure=40), event("c3", 5), event("c4", -10), b"{"])
"""Two good ones and c3; c4 is late."""
# The producer's word for when it was: no event of theirs is judged by it, not even again.
FIRST[2] = replace(FIRST[2], timestamp=datetime(1970, 1, 21, tzinfo=UTC), timestamp_type=0)
SECOND = log_of(
    [
        event("c1", 0),  # a duplicate of the batch before
        event("c2", 0, tenure=41),  # a conflict
        event("c5", 6, gender=...),
        event("c5", 6, gender=...),  # a duplicate in the same batch
        event("c6", 60 * 24 * 9),  # from the future
        event("c7", 6, tenure="many"),
        event("c8", 6, extra=1),
    ],
    first_offset=5,
) + log_of([event("r1", 0), event("c4", -10)], topic="customers_replay")
SECOND[4] = replace(SECOND[4], timestamp=datetime(9999, 1, 1, tzinfo=UTC), timestamp_type=0)


def rebuild(lake: TestLake, mode: str, dataset: Dataset | None = None, run_id: str = "r1") -> Rebuilt:
    """Rebuild the lake by the contracts of `dataset` (its own if None)."""
    access = LakeAccess(lake.paths.root)
    return Rebuild(lake.spark, dataset or lake.dataset, access, StreamOptions(), run_id).run(mode)


def contents(lake: TestLake) -> dict[str, list[dict[str, Any]]]:
    """Rows of silver and quarantine in the order of their coordinates."""
    order = {"silver": ("_topic", "_partition", "_offset"), "quarantine": ("topic", "partition", "offset")}
    return {
        table: sorted(lake.rows(table), key=lambda row: tuple(row[name] for name in columns))
        for table, columns in order.items()
    }


def stricter(dataset: Dataset) -> Dataset:
    """The contracts with a largest tenure of 10."""
    columns = tuple(
        replace(column, maximum=Decimal(10)) if column.name == "tenure" else column
        for column in dataset.events.columns
    )
    return replace(dataset, events=replace(dataset.events, columns=columns, fingerprint="1" * 64))
