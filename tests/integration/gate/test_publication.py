"""Publishing a set: gold becomes the candidates, once, whole, and only when allowed."""

from __future__ import annotations

import pytest

from medallion_contracts.errors import GoldError, StaleStaging
from medallion_contracts.model import Severity
from medallion_ops.gate.verdict import Finding, Verdict, keep_verdict
from medallion_ops.gold.publication import Outcome, is_stale, publish_set
from medallion_store.postgres import gold_connection
from staged_sets import DATASET, GoldDatabase, version


def give_verdict(gold: GoldDatabase, set_id: int, *, passed: bool = True) -> None:
    """What the gate would have found; the gate itself is tested elsewhere."""
    finding = Finding("customers", "rule", "expect", "A rule.", Severity.CRITICAL, True, passed, 1)
    with gold_connection(gold.secret) as connection:
        keep_verdict(connection, Verdict(set_id, "hash", (finding,)))


def publish(gold: GoldDatabase, set_id: int) -> Outcome:
    give_verdict(gold, set_id)
    return publish_set(gold.secret, DATASET, set_id)


def test_gold_becomes_the_candidates(gold: GoldDatabase) -> None:
    outcome = publish(gold, gold.stage([version("A"), version("A", 1, tenure=11), version("B")]))

    assert outcome.is_new
    assert {name: rows["inserted"] for name, rows in outcome.rows.items()} == {
        "customers": 2,
        "customer_features": 2,
        "customer_history": 3,
        "segment_hourly": 2,
    }
    assert gold.query("SELECT customer_id, tenure FROM gold.customers ORDER BY 1") == [("A", 11), ("B", 10)]


def test_the_same_set_again_changes_nothing(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("A")])
    first = publish(gold, set_id)

    again = publish_set(gold.secret, DATASET, set_id)

    assert not again.is_new
    assert (again.publication_id, again.rows) == (first.publication_id, first.rows)
    assert gold.value("SELECT count(*) FROM gold.publications") == 1


def test_rows_without_a_difference_are_not_written(gold: GoldDatabase) -> None:
    publish(gold, gold.stage([version("A"), version("B")]))
    before = gold.query("SELECT customer_id, xmin::text FROM gold.customers ORDER BY 1")

    outcome = publish(gold, gold.stage([version("A"), version("B"), version("B", 1, tenure=11)]))

    after = gold.query("SELECT customer_id, xmin::text FROM gold.customers ORDER BY 1")
    assert outcome.rows["customers"] == {"inserted": 0, "updated": 1, "deleted": 0, "unchanged": 1}
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_version_that_arrives_late_takes_its_place_in_the_history(gold: GoldDatabase) -> None:
    publish(gold, gold.stage([version("A"), version("A", 2, tenure=12)]))
    publish(gold, gold.stage([version("A"), version("A", 1, tenure=11), version("A", 2, tenure=12)]))

    assert gold.query(
        "SELECT tenure, valid_to = lead(valid_from) OVER (ORDER BY valid_from), is_current "
        "FROM gold.customer_history ORDER BY valid_from"
    ) == [(10, True, False), (11, True, False), (12, None, True)]


def test_a_set_computed_against_an_older_publication_is_refused(gold: GoldDatabase) -> None:
    first, second = gold.stage([version("A")]), gold.stage([version("B")])
    publish(gold, first)

    with pytest.raises(StaleStaging, match="write again"):
        publish(gold, second)

    assert gold.query("SELECT customer_id FROM gold.customers") == [("A",)]


def test_staging_emptied_by_a_crash_is_never_published(gold: GoldDatabase) -> None:
    publish(gold, gold.stage([version("A")]))
    set_id = gold.stage([version("A"), version("A", 1)])
    gold.query(f"TRUNCATE staging.s{set_id}_customers")

    with pytest.raises(StaleStaging, match="crashed"):
        publish(gold, set_id)

    assert gold.query("SELECT customer_id FROM gold.customers") == [("A",)]
    assert is_stale(gold.secret, DATASET, set_id)


def test_only_a_set_that_must_be_written_again_is_stale(gold: GoldDatabase) -> None:
    first, second = gold.stage([version("A")]), gold.stage([version("B")])
    assert not is_stale(gold.secret, DATASET, first)

    publish(gold, first)

    assert not is_stale(gold.secret, DATASET, first), "published is published"
    assert is_stale(gold.secret, DATASET, second), "gold moved on"


def test_one_changed_value_in_staging_is_noticed(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("A")])
    gold.query(f"UPDATE staging.s{set_id}_customers SET tenure = tenure + 1")

    with pytest.raises(StaleStaging, match="manifest"):
        publish(gold, set_id)


def test_a_set_nobody_checked_is_refused(gold: GoldDatabase) -> None:
    with pytest.raises(GoldError, match="never checked"):
        publish_set(gold.secret, DATASET, gold.stage([version("A")]))


def test_a_set_that_failed_is_refused_until_a_person_says_publish_anyway(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("A")])
    give_verdict(gold, set_id, passed=False)

    with pytest.raises(GoldError, match=r"nobody approved it: customers\.rule"):
        publish_set(gold.secret, DATASET, set_id)

    assert gold.value("SELECT count(*) FROM gold.customers") == 0


def test_a_rebuild_removes_what_it_does_not_hold(gold: GoldDatabase) -> None:
    publish(gold, gold.stage([version("A"), version("B", 5)]))

    outcome = publish(gold, gold.stage([version("A")], kind="rebuild"))

    assert outcome.rows["customers"]["deleted"] == 1
    assert gold.query("SELECT customer_id FROM gold.customer_history") == [("A",)]
    assert gold.value("SELECT count(*) FROM gold.segment_hourly") == 1
