"""Silver and quarantine made anew from bronze: the same when verdicts stand, explained when they do not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from delta.tables import DeltaTable

from kafka_log import TestLake, event, log_of
from medallion_contracts.errors import LeaseError, StreamError
from medallion_spark.rebuild.compare import Differences
from medallion_store.folder_files import FolderFiles
from medallion_store.lease import Lease, lease_holder
from rebuilds import FIRST, SECOND, contents, rebuild, stricter


@pytest.fixture
def landed(lake: TestLake) -> TestLake:
    """A lake of two micro-batches with verdicts of every kind."""
    lake.send(FIRST)
    lake.send(SECOND)
    return lake


def test_as_judged_gives_exactly_the_present_tables(landed: TestLake) -> None:
    before, version = contents(landed), landed.tables.silver.version()
    rebuilt = rebuild(landed, "as-judged")
    assert contents(landed) == before
    assert rebuilt.silver_differences == rebuilt.quarantine_differences == Differences()
    assert (rebuilt.records, rebuilt.silver_rows, rebuilt.quarantine_rows) == (14, 7, 5)
    assert rebuilt.silver_version == version + 1, "one commit of the same table"
    landed.check()


def test_the_same_run_again_does_not_replace_silver_again(landed: TestLake) -> None:
    version = rebuild(landed, "as-judged").silver_version
    assert rebuild(landed, "as-judged").silver_version == version
    assert rebuild(landed, "as-judged", run_id="r2").silver_version == version + 1


def test_a_damaged_silver_is_named_and_mended(landed: TestLake) -> None:
    before = contents(landed)
    spark, path = landed.spark, landed.paths.silver
    table = DeltaTable.forPath(spark, path)
    repeated = spark.read.format("delta").load(path).where("customer_id = 'c1'")
    repeated.write.format("delta").mode("append").save(path)
    strange = repeated.limit(1).selectExpr("* EXCEPT (_offset)", "999L AS _offset")
    strange.select(*repeated.columns).write.format("delta").mode("append").save(path)
    table.delete("customer_id = 'c3'")
    table.update("customer_id = 'c2'", {"tenure": "tenure + 1"})
    table.update("customer_id = 'c8'", {"defaulted_fields": "array('gender')"})
    rebuilt = rebuild(landed, "as-judged")
    assert rebuilt.silver_differences == Differences(missing=1, unexpected=1, repeated=1, changed=2)
    assert contents(landed) == before


def test_a_run_done_again_after_its_commits_still_tells_what_it_changed(landed: TestLake) -> None:
    DeltaTable.forPath(landed.spark, landed.paths.silver).delete("customer_id = 'c3'")
    other = stricter(landed.dataset)
    first = rebuild(landed, "judge-again", other)
    assert first.verdict_changes
    assert not first.silver_differences.are_none

    again = rebuild(landed, "judge-again", other)

    assert again == first


def test_a_silver_with_other_nulls_is_not_taken_for_equal(landed: TestLake) -> None:
    table = DeltaTable.forPath(landed.spark, landed.paths.silver)
    table.update("customer_id = 'c1'", {"first_name": "null"})
    assert rebuild(landed, "as-judged").silver_differences == Differences(changed=1)


def test_judging_again_by_the_same_contract_changes_nothing(landed: TestLake) -> None:
    before, bronze = contents(landed), landed.tables.bronze.version()
    rebuilt = rebuild(landed, "judge-again")
    assert rebuilt.verdict_changes == []
    assert landed.tables.bronze.version() == bronze
    assert contents(landed) == before


def test_judging_again_by_another_contract_explains_each_difference(landed: TestLake) -> None:
    before = contents(landed)
    rebuilt = rebuild(landed, "judge-again", stricter(landed.dataset))
    assert rebuilt.verdict_changes == [
        {"before": "rejected: conflict", "after": "rejected: value:tenure", "count": 1},
        {"before": "silver", "after": "rejected: value:tenure", "count": 1},
    ]
    assert rebuilt.silver_differences == Differences(unexpected=1)
    assert landed.verdicts()["customers", 0, 1] == ("rejected", ("value:tenure",))
    landed.check()
    rebuild(landed, "judge-again", run_id="back")
    again = contents(landed)
    assert again["silver"] == before["silver"], "judged again by the first contract, all is as before"
    landed.check()


def test_of_a_version_the_first_that_arrived_is_kept(landed: TestLake) -> None:
    # The looser contract takes what was sent first and rejected then; the later copy becomes its duplicate.
    strict = stricter(landed.dataset)
    landed.restart(dataset=strict)
    landed.send(log_of([event("c9", 31, tenure=11)], first_offset=12))
    landed.restart()
    landed.clock -= timedelta(hours=2)  # the driver's host had its clock put right
    landed.send(log_of([event("c9", 31, tenure=11)], first_offset=13))
    changes = rebuild(landed, "judge-again").verdict_changes
    assert changes == [
        {"before": "rejected: value:tenure", "after": "silver", "count": 1},
        {"before": "silver", "after": "duplicate", "count": 1},
    ]
    landed.check()


def test_what_was_rejected_is_tested_for_lateness_when_it_is_judged_again(landed: TestLake) -> None:
    landed.restart(dataset=stricter(landed.dataset))
    landed.send(log_of([event("c9", -5, tenure=11), event("c9", 25, tenure=12)], first_offset=12))
    rebuild(landed, "judge-again")
    assert landed.verdicts()["customers", 0, 12] == ("late", ())
    assert landed.verdicts()["customers", 0, 13] == ("silver", ())


def test_what_the_contract_can_no_longer_make_goes_to_quarantine(landed: TestLake) -> None:
    rebuilt = rebuild(landed, "as-judged", stricter(landed.dataset))
    assert rebuilt.silver_differences == Differences(unexpected=1)
    reasons = {
        row["offset"]: row["reasons"] for row in landed.rows("quarantine") if row["topic"] == "customers"
    }
    assert reasons[1] == ["contract_changed"]
    assert landed.verdicts()["customers", 0, 1] == ("silver", ()), "the verdict stands as bronze has it"


def test_the_stream_goes_on_after_a_rebuild(landed: TestLake) -> None:
    rebuild(landed, "as-judged")
    landed.restart()
    landed.send(log_of([event("c1", 0), event("c1", 32)], first_offset=12))
    assert landed.verdicts()["customers", 0, 12] == ("duplicate", ())
    assert landed.verdicts()["customers", 0, 13] == ("silver", ())
    landed.check()


def test_a_batch_under_way_is_finished_before_a_rebuild(
    landed: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = log_of([event("c9", 7)], first_offset=12)

    def dies(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as fault:
        fault.setattr(landed.ledger, "append", dies)
        with pytest.raises(InterruptedError):
            landed.send(records)
    with pytest.raises(StreamError, match=r"died in batch 2.* until that batch is done"):
        rebuild(landed, "as-judged")
    landed.restart()
    landed.send(records, batch_id=2)
    assert rebuild(landed, "as-judged").silver_differences == Differences()
    landed.check()


def test_a_run_id_of_long_ago_rebuilds_nothing(landed: TestLake) -> None:
    rebuild(landed, "as-judged")
    landed.restart()
    landed.send(log_of([event("c9", 7)], first_offset=12))
    with pytest.raises(StreamError, match="trigger a new run"):
        rebuild(landed, "judge-again", stricter(landed.dataset))
    for number in range(120):
        landed.tables.silver.fence(f"other-{number}")
    version = landed.tables.silver.version()
    with pytest.raises(StreamError, match="trigger a new run"):
        rebuild(landed, "as-judged")
    assert landed.tables.silver.version() == version, "however many commits ago"
    landed.check()


def test_a_replacement_that_delta_leaves_out_is_no_success(
    landed: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medallion_spark.rebuild.replacement.retried", lambda *_: None)
    with pytest.raises(StreamError, match="was not committed"):
        rebuild(landed, "as-judged")


def test_a_rebuild_waits_for_nobody_who_writes_silver(
    landed: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medallion_spark.rebuild.rebuild.LEASE_STALE_SECONDS", -5)
    stream = Lease(FolderFiles(), landed.paths.lease, "stream")
    stream.acquire()
    version = landed.tables.silver.version()
    with pytest.raises(LeaseError, match="stream:"):
        rebuild(landed, "as-judged")
    assert landed.tables.silver.version() == version
    stream.release()
    rebuild(landed, "as-judged")
    assert lease_holder(FolderFiles().read(landed.paths.lease)) is None, "the lease is given back"


def test_an_empty_lake_cannot_be_rebuilt(lake: TestLake) -> None:
    with pytest.raises(StreamError, match="nothing to rebuild from"):
        rebuild(lake, "as-judged")
