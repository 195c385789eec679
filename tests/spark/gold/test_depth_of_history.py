"""An hour costs what its versions change, however many versions their customers have had."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gold_model import DATASET, gold_of, version
from gold_runs import GoldRuns
from medallion_ops.gate.audit import audit_set
from medallion_store.refresh_plan import RefreshKind
from medallion_store.secret import Secret

DEPTH = 10_000


def deep(customer_id: str, depth: int) -> list[dict[str, Any]]:
    """A customer with many versions, ten an hour, that changes plan now and then."""
    plans = ["Month-to-month", "One year", "Two year"]
    return [
        version(customer_id, number / 10, contract=plans[number // 7 % 3], tenure=number % 70)
        for number in range(depth)
    ]


def test_a_new_version_of_a_customer_with_ten_thousand_costs_what_it_changes(runs: GoldRuns) -> None:
    known = [*deep("deep", DEPTH), version("flat")]
    runs.append(known)
    runs.run()
    before = runs.rows_read()
    new = [version("deep", DEPTH / 10 + 5, contract="Two year", monthly_charges=Decimal("61.50"))]
    runs.append(new)
    report = runs.run()
    assert report.kind is RefreshKind.INCREMENT
    staged = {name: rows for name, rows in report.rows.items() if not name.startswith("_")}
    assert staged == {"customers": 1, "customer_features": 1, "customer_history": 3, "segment_hourly": 1}
    assert runs.rows_read() - before <= 100, "it has read the history"
    assert runs.gold() == gold_of(known + new)


def test_late_removed_and_released_versions_find_their_place_in_a_deep_history(runs: GoldRuns) -> None:
    known = [*deep("deep", 300), *deep("other", 40)]
    runs.append(known)
    runs.run()
    late = [
        version("deep", -3.05, contract="Two year"),
        version("deep", 12.34, contract="One year"),
        version("deep", 12.345, contract="Month-to-month", internet_service="No"),
        version("deep", 50, contract="Two year"),
    ]
    runs.append(late)
    out = [
        ("deep", known[123]["updated_at"]),
        ("deep", known[124]["updated_at"]),
        ("deep", known[299]["updated_at"]),
        ("other", known[300]["updated_at"]),
        *(("other", one["updated_at"]) for one in known[310:330]),
    ]
    for key, moment in out:
        runs.reject(key, moment)
    report = runs.run()
    assert report.kind is RefreshKind.INCREMENT
    assert report.rows["customer_history"] < 40
    assert runs.gold() == gold_of(known + late, rejected=out)
    runs.reject("deep", late[0]["updated_at"])
    for key, moment in out[::2]:
        runs.release(key, moment)
    left_out = [*out[1::2], ("deep", late[0]["updated_at"])]
    assert runs.run().kind is RefreshKind.INCREMENT
    assert runs.gold() == gold_of(known + late, rejected=left_out)
    assert runs.publish(runs.write(full=True)).changed == 0


def test_a_customer_whose_every_version_was_rejected_is_gone(runs: GoldRuns) -> None:
    known = [version("a"), version("a", 1), version("b", 1)]
    runs.append(known)
    runs.run()
    out = [("a", known[0]["updated_at"]), ("a", known[1]["updated_at"])]
    for key, moment in out:
        runs.reject(key, moment)
    runs.run()
    assert runs.gold() == gold_of(known, rejected=out)
    again = [version("a", 2)]
    runs.append(again)
    runs.run()
    assert runs.gold() == gold_of(known + again, rejected=out)


def test_a_label_that_changed_reads_two_versions_of_its_customer(runs: GoldRuns) -> None:
    known = deep("deep", 500)
    runs.append(known)
    runs.run()
    source = runs.lake.parent / "churn.csv"
    source.write_text("customerID,Churn\ndeep,Yes\n")
    report = runs.run(churn_source=str(source))
    assert report.rows["customer_history"] == 2
    assert runs.gold() == gold_of(known, labels={"deep": True})


def test_gold_that_lost_its_features_is_taken_from_all_of_silver(runs: GoldRuns) -> None:
    known = [version("a"), version("a", 1)]
    runs.append(known)
    runs.run()
    runs.query("DELETE FROM gold.customer_features")
    runs.append([version("a", 2)])
    report = runs.run()
    assert (report.kind, "lacks entities" in report.reason) == (RefreshKind.FULL, True)
    assert runs.gold() == gold_of([*known, version("a", 2)])


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("DELETE FROM {staged} WHERE valid_to = '{late}'", id="the_version_before_not_staged"),
        pytest.param("UPDATE {staged} SET valid_to = valid_to + '1s' WHERE valid_from = '{late}'", id="gap"),
        pytest.param("UPDATE {staged} SET valid_to = NULL, is_current = true", id="all_current"),
    ],
)
def test_the_gate_sees_a_break_between_what_is_staged_and_what_gold_keeps(runs: GoldRuns, fault: str) -> None:
    runs.append(deep("deep", 30))
    runs.run()
    late = version("deep", 1.25)
    runs.append([late])
    report = runs.write()
    assert report.set_id is not None
    sound = audit_set(Secret(runs.dsn), DATASET, report.set_id, None)
    assert sound.failed_critical == ()
    staged = f"staging.s{report.set_id}_customer_history"
    runs.query(fault.format(staged=staged, late=late["updated_at"].isoformat()))
    broken = audit_set(Secret(runs.dsn), DATASET, report.set_id, None)
    assert "customer_history.customer_history_unbroken" in broken.failed_critical
