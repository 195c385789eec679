"""Hourly runs of the gold job on a lake and a database of a test's own: append to silver, write, publish."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from gold_model import DATASET, Row, Version
from medallion_contracts.compile.arrow import arrow_schema
from medallion_contracts.compile.postgres import columns
from medallion_contracts.model import Dataset, Severity
from medallion_ops.gate.verdict import Finding, Verdict, keep_verdict
from medallion_ops.gold.publication import Outcome, publish_set
from medallion_spark.gold.stage_candidates import Report, Request, stage_candidates
from medallion_spark.session.lake_access import LakeAccess
from medallion_store.lake_paths import LakePaths
from medallion_store.postgres import gold_connection
from medallion_store.secret import Secret


@dataclass
class GoldRuns:
    """Silver written by delta-rs (no JVM), the product's own write and publish."""

    spark: SparkSession
    dsn: str
    lake: Path
    dataset: Dataset = DATASET
    offset: int = field(default=0)
    writes: int = field(default=0)

    @property
    def silver(self) -> str:
        """Path of the silver table."""
        return LakePaths(str(self.lake), self.dataset.name).silver

    def append(self, versions: Sequence[Version]) -> None:
        """Commit versions to silver as one micro-batch would."""
        self._commit(versions, "append")

    def overwrite(self, versions: Sequence[Version]) -> None:
        """Replace all of silver in one commit, as a rebuild does."""
        self._commit(versions, "overwrite")

    def _commit(self, versions: Sequence[Version], mode: Literal["append", "overwrite"]) -> None:
        rows = [self._silver_row(one) for one in versions]
        write_deltalake(
            self.silver,
            pa.Table.from_pylist(rows, arrow_schema(self.dataset.silver)),
            mode=mode,
            partition_by=list(self.dataset.silver.partitioned_by),
            configuration={"delta.enableChangeDataFeed": "true"},
        )

    def _silver_row(self, one: Version) -> dict[str, Any]:
        self.offset += 1
        moment: datetime = one[self.dataset.event_time]
        return {
            "_topic": self.dataset.topic,
            "_partition": self.offset % 4,
            "_offset": self.offset,
            "_incarnation": 0,
            "_query_id": "query",
            "_batch_id": self.offset,
            "_enqueued_at": moment,
            "_processed_at": datetime(2026, 5, 6, tzinfo=UTC),
            "year": moment.year,
            "month": moment.month,
            "day": moment.day,
            "hour": moment.hour,
            **one,
        }

    def write(self, **request: Any) -> Report:
        """One run of the gold job; every other one treats its rows as few, which must make no difference."""
        self.writes += 1
        request.setdefault("few_rows", 1_000 * (self.writes % 2))
        wanted = Request(self.dataset, LakeAccess(str(self.lake)), "run", **request)
        return stage_candidates(lambda _: self.spark, wanted)

    def publish(self, report: Report) -> Outcome:
        """Publish the set of a run as if the gate had passed it."""
        assert report.set_id is not None, report.reason
        return self.publish_set(report.set_id)

    def publish_set(self, set_id: int) -> Outcome:
        """Publish a set as if the gate had passed it."""
        passed = Finding(
            next(iter(self.dataset.gold)), "rule", "expect", "A rule.", Severity.CRITICAL, True, True, 1
        )
        with gold_connection(Secret(self.dsn)) as connection:
            keep_verdict(connection, Verdict(set_id, "suite", (passed,)))
        return publish_set(Secret(self.dsn), self.dataset, set_id)

    def run(self, **request: Any) -> Report:
        """Write, and publish unless there was nothing to write."""
        report = self.write(**request)
        if report.set_id is not None:
            self.publish(report)
        return report

    def gold(self) -> dict[str, set[Row]]:
        """Rows of every gold table, comparable with `gold_model.gold_of`."""
        with psycopg.connect(self.dsn, options="-c timezone=UTC") as connection:
            return {
                name: {
                    tuple(tuple(value) if isinstance(value, list) else value for value in row)
                    for row in connection.execute(
                        f"SELECT {columns(table.column_names)} FROM gold.{name}".encode()
                    )
                }
                for name, table in self.dataset.gold.items()
            }

    def query(self, statement: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query, or nothing for a statement without; committed."""
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(statement.encode(), list(values) or None)
            return cursor.fetchall() if cursor.description else []

    def rows_read(self) -> int:
        """Rows and index entries of gold's data that all ended connections have read."""
        [(read,)] = self.query(
            "SELECT coalesce(sum(seq_tup_read), 0) + (SELECT coalesce(sum(idx_tup_read), 0) "
            "FROM pg_stat_user_indexes WHERE schemaname = 'gold' AND relname ~ '^(customer|segment)') "
            "FROM pg_stat_user_tables WHERE schemaname = 'gold' AND relname ~ '^(customer|segment)'"
        )
        return int(read)

    def reject(self, key: str, moment: datetime) -> None:
        """Keep a version out of gold, as a decision does."""
        self.query(
            "INSERT INTO audit.rejected_rows (dataset, key, event_time, rejected_by) "
            "VALUES (%s, %s, %s, 'tester')",
            [self.dataset.name, key, moment],
        )

    def release(self, key: str, moment: datetime) -> None:
        """Let a version in again."""
        self.query(
            "UPDATE audit.rejected_rows SET released_at = clock_timestamp(), released_by = 'tester' "
            "WHERE dataset = %s AND key = %s AND event_time = %s",
            [self.dataset.name, key, moment],
        )

    def silver_version(self) -> int:
        """Newest version of silver."""
        return DeltaTable(self.silver).version()


def csv_of(labels: Mapping[str, object]) -> str:
    """A table of churn outcomes as the public one spells it."""
    return "customerID,Churn\n" + "".join(f"{key},{label}\n" for key, label in labels.items())
