"""Records of two logs of one name: the same topic, partition and offset, and other records."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from deltalake import DeltaTable, write_deltalake

from kafka_log import TestLake, event, log_of
from medallion_spark.lake.tables import LakeTable
from medallion_spark.rebuild.compare import Differences
from medallion_spark.rebuild.rebuild import AS_JUDGED, JUDGE_AGAIN, Rebuild
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream.options import StreamOptions

FIRST = log_of([event("c1", 0), event("c2", 60), b"{", event("c3", 0)])
SECOND = log_of([event("c1", 0), event("c4", 0), b"[", event("c2", 60, tenure=9), event("c5", -1)])


@pytest.fixture
def landed(lake: TestLake) -> TestLake:
    """Four records of the first log and five of the second one, at the same offsets."""
    lake.send(FIRST)
    lake.accept_another_log(p0=6)
    lake.restart(query_id="next")
    lake.send(SECOND, batch_id=0)
    return lake


VERDICTS = {
    ("customers", 0, 0): ("silver", ()),
    ("customers", 0, 1): ("silver", ()),
    ("customers", 0, 2): ("rejected", ("malformed",)),
    ("customers", 0, 3): ("late", ()),
    ("customers", 0, 0, 1): ("duplicate", ()),
    # The watermark is that of its own log: an hour behind the other one's is not late.
    ("customers", 0, 1, 1): ("silver", ()),
    ("customers", 0, 2, 1): ("rejected", ("malformed",)),
    ("customers", 0, 3, 1): ("rejected", ("conflict",)),
    ("customers", 0, 4, 1): ("late", ()),
}


def test_verdicts_ids_and_offsets_are_kept_apart(landed: TestLake) -> None:
    assert landed.verdicts() == VERDICTS
    landed.check()
    quarantine = landed.rows("quarantine")
    assert len({row["quarantine_id"] for row in quarantine}) == len(quarantine) == 5
    rows = sorted(landed.rows("ledger"), key=lambda row: row["sequence"])
    assert [(row["read"], row["lost"], row["lost_is_at_least"]) for row in rows] == [
        (4, 0, False),
        (0, 2, True),
        (5, 0, False),
    ]
    source = landed.ledger.carried().sources["customers", 0]
    assert (source.incarnation, source.from_offset, source.until_offset, source.last_offset) == (1, 0, 5, 4)


def test_a_rebuild_keeps_them_apart(landed: TestLake) -> None:
    for mode in (AS_JUDGED, JUDGE_AGAIN):
        access = LakeAccess(landed.paths.root)
        report = Rebuild(landed.spark, landed.dataset, access, StreamOptions(), mode).run(mode)
        assert (report.silver_differences, report.quarantine_differences) == (Differences(), Differences())
        assert report.verdict_changes == []
    assert landed.verdicts() == VERDICTS
    landed.check()


def without_incarnation(table: LakeTable) -> None:
    """Write a table as a release wrote it that did not know the column."""
    rows = DeltaTable(table.path).to_pyarrow_table().drop_columns(["_incarnation"])
    shutil.rmtree(table.path)
    old = replace(table, schema=table.schema.remove(table.schema.get_field_index("_incarnation")))
    old.prepare()
    write_deltalake(table.path, rows, mode="append")


def test_tables_older_than_the_column_are_brought_forward(lake: TestLake) -> None:
    lake.send(FIRST)
    tables = (lake.tables.bronze, lake.tables.silver, lake.tables.quarantine)
    for table in tables:
        without_incarnation(table)
        table._log.reopen()
        table.prepare()
        assert "_incarnation" in [field.name for field in table.log().schema().fields]
    lake.restart(query_id="next")
    again = log_of([event("c1", 0), event("c2", 60, tenure=9)], topic="customers_replay")
    lake.send(again, batch_id=0)
    assert lake.verdicts()["customers_replay", 0, 0] == ("duplicate", ())
    assert lake.verdicts()["customers_replay", 0, 1] == ("rejected", ("conflict",))
    report = Rebuild(lake.spark, lake.dataset, LakeAccess(lake.paths.root), StreamOptions(), "run").run(
        JUDGE_AGAIN
    )
    assert (report.silver_differences, report.quarantine_differences) == (Differences(), Differences())
