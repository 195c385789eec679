"""Few new rows are read by the driver from the files of their commits: the same rows as Spark reads."""

from __future__ import annotations

import pytest
from deltalake import DeltaTable

from gold_model import DATASET, gold_of, version
from gold_runs import GoldRuns
from medallion_spark.gold import versions
from medallion_spark.gold.silver_changes import ChangesGone, read_changes, read_few_changes
from medallion_spark.gold.transforms import transforms_of
from medallion_spark.session.lake_access import LakeAccess
from medallion_store.refresh_plan import RefreshKind

GOLD = transforms_of(DATASET)
UNCOMFORTABLE = 'Zoë "the\nnext" O\'Neil, \\N \\. \t €'


def lose_files(runs: GoldRuns) -> None:
    """Move the rows of all files together, and remove what lay there before."""
    table = DeltaTable(runs.silver)
    table.optimize.compact()
    table.vacuum(0, enforce_retention_duration=False, dry_run=False)


def test_they_are_those_of_the_change_feed(runs: GoldRuns) -> None:
    runs.append([version("a")])
    for hour in (0, 1, 1.5):
        runs.append(
            [
                version(f"c{hour}", hour),
                version(UNCOMFORTABLE, hour, first_name="", defaulted_fields=["email"]),
            ]
        )
    DeltaTable(runs.silver).optimize.compact()
    to = DeltaTable(runs.silver).version()
    lake = LakeAccess(str(runs.lake))
    few = read_few_changes(runs.spark, lake, runs.silver, DATASET, 0, to)
    every = read_changes(runs.spark, runs.silver, 0, to)
    of_few, of_every = (versions.versions_of_silver(frame, GOLD) for frame in (few, every))
    assert of_few.count() == 6
    assert of_few.schema.simpleString() == of_every.schema.simpleString()
    assert sorted(map(repr, of_few.collect())) == sorted(map(repr, of_every.collect()))


def test_versions_without_rows_give_none(runs: GoldRuns) -> None:
    runs.append([version("a")])
    found = read_few_changes(runs.spark, LakeAccess(str(runs.lake)), runs.silver, DATASET, 0, 0)
    assert versions.versions_of_silver(found, GOLD).collect() == []


def test_files_that_were_vacuumed_are_gone(runs: GoldRuns) -> None:
    for hour in (0, 0.1):
        runs.append([version("a", hour)])
    lose_files(runs)
    with pytest.raises(ChangesGone):
        read_few_changes(runs.spark, LakeAccess(str(runs.lake)), runs.silver, DATASET, -1, 1)


def test_an_increment_whose_files_are_gone_becomes_a_rebuild(runs: GoldRuns) -> None:
    sent = [version("a")]
    runs.append(sent)
    runs.run(few_rows=1_000)
    for minute in (1, 2):
        later = [version("a", minute / 60), version(f"b{minute}", 0)]
        sent += later
        runs.append(later)
    lose_files(runs)
    report = runs.run(few_rows=1_000)
    assert report.kind is RefreshKind.FULL
    assert runs.gold() == gold_of(sent)


def test_other_labels_may_touch_many_customers_however_few_rows_are_new(runs: GoldRuns) -> None:
    many = [version(f"c{number}") for number in range(20)]
    runs.append(many)
    runs.run()
    labels = runs.lake.parent / "labels.csv"
    labels.write_text("customerID,Churn\n" + "".join(f"{one['customer_id']},Yes\n" for one in many))
    new = [version("a", 1)]
    runs.append(new)
    report = runs.run(few_rows=5, churn_source=str(labels))
    assert report.rows["customer_features"] == 21
    assert {row[0] for row in runs.query("SELECT DISTINCT churned FROM gold.customer_features")} == {
        True,
        None,
    }
