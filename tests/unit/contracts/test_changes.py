"""What lies between two versions of the contracts, whom it breaks, and what it does to a running platform."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from medallion_contracts.changes import contract_changes
from medallion_contracts.loader import files_in, load_dataset, load_files
from medallion_ops.contracts.effects import contract_plan, described
from medallion_ops.plan import main
from medallion_store.contract_store import StoredContract
from new_fields import new_field, write_contracts

TODAY = dict(load_dataset("customers").files)


def with_column(stem: str, column: str, **changes: Any) -> dict[str, bytes]:
    """The contracts with a column of one file changed: an entry is replaced, `...` removes it."""
    contract = yaml.safe_load(TODAY[stem])
    for entry in contract["schema"][0]["properties"]:
        if entry["name"] == column:
            entry.update(changes)
            for gone in [key for key, value in changes.items() if value is ...]:
                del entry[gone]
    return TODAY | {stem: yaml.safe_dump(contract, sort_keys=False).encode()}


def without_columns(stem: str, *names: str) -> dict[str, bytes]:
    """The contracts without some columns of one file."""
    contract = yaml.safe_load(TODAY[stem])
    properties = contract["schema"][0]["properties"]
    contract["schema"][0]["properties"] = [one for one in properties if one["name"] not in names]
    return TODAY | {stem: yaml.safe_dump(contract, sort_keys=False).encode()}


def plan_of(files: dict[str, bytes]) -> Any:
    return contract_plan(StoredContract("customers", TODAY), StoredContract("customers", files))


@pytest.mark.parametrize("filling", ["default", "nullable", "derived"])
def test_an_added_optional_field_breaks_no_one_and_refreshes_gold(tmp_path: Path, filling: str) -> None:
    plan = plan_of(files_in(write_contracts(tmp_path, [new_field("area_of_test", "whole", filling)])))
    assert {change.name for change in plan.changes if change.what == "added"} == {
        "events.area_of_test added",
        "silver.area_of_test added",
        "gold.customers.area_of_test added",
        "gold.customer_history.area_of_test added",
    }
    assert not plan.breaking
    assert plan.is_refresh
    text = "\n".join(described(plan))
    assert "all of gold, once" in text
    assert "breaks: no one" in text


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (without_columns("events", "gender"), {"events.gender removed", "gold.customers.gender removed"}),
        (
            with_column("events", "gender", name="sex"),
            {"events.gender renamed", "gold.customer_history.gender renamed"},
        ),
        (
            with_column("events", "monthly_charges", physicalType="decimal(8,2)", logicalTypeOptions=...),
            {"events.monthly_charges narrowed", "gold.customers.monthly_charges narrowed"},
        ),
        (
            with_column("events", "monthly_charges", physicalType="decimal(11,2)"),
            {"events.monthly_charges widened", "silver.monthly_charges widened"},
        ),
        (
            with_column("events", "tenure", logicalTypeOptions={"minimum": 0, "format": "i64"}),
            {"events.tenure widened", "gold.customer_features.tenure widened"},
        ),
        (
            with_column("events", "tenure", logicalTypeOptions={"minimum": 0, "maximum": 600}),
            {"events.tenure maximum narrowed"},
        ),
        (
            with_column("events", "internet_service", enum=[{"value": "DSL"}, {"value": "No"}]),
            {"events.internet_service values narrowed"},
        ),
        (
            with_column("events", "contract", enum=[{"value": v} for v in ("Month-to-month", "Weekly")]),
            {"events.contract values narrowed"},
        ),
        (
            with_column("events", "first_name", customProperties=..., logicalTypeOptions={"maxLength": 50}),
            {"events.first_name length narrowed", "gold.customers.first_name may be null"},
        ),
        (with_column("events", "gender", customProperties=..., required=True), {"events.gender required"}),
        (
            with_column("events", "gender", classification="pii"),
            {"gold.customers.gender classification changed"},
        ),
        (
            without_columns("gold_customer_features", "household"),
            {"gold.customer_features.household removed"},
        ),
        (
            {k: v for k, v in TODAY.items() if k != "gold_customer_features"},
            {"gold.customer_features removed"},
        ),
    ],
)
def test_what_breaks_someone_is_named(files: dict[str, bytes], names: set[str]) -> None:
    plan = plan_of(files)
    assert names <= {change.name for change in plan.breaking}
    assert "BREAKS" in "\n".join(described(plan))
    accepted = contract_plan(plan.old, plan.new, [change.name for change in plan.breaking])
    assert not accepted.breaking


@pytest.mark.parametrize(
    ("files", "is_refresh"),
    [
        (with_column("events", "gender", description="Better words."), False),
        (with_column("events", "gender", customProperties=[{"property": "default", "value": "Male"}]), True),
        (with_column("events", "tenure", logicalTypeOptions={"minimum": 0, "maximum": 2000}), True),
        (with_column("gold_customer_features", "feature_version", transformLogic="2"), True),
        (TODAY, False),
    ],
)
def test_what_breaks_no_one_passes(files: dict[str, bytes], is_refresh: bool) -> None:
    plan = plan_of(files)
    assert not plan.breaking
    assert plan.is_refresh is is_refresh


def test_each_kind_of_change_is_found_in_both_directions() -> None:
    wider = with_column("events", "tenure", logicalTypeOptions={"minimum": 0, "format": "i64"})
    old, new = load_files(TODAY, "customers"), load_files(wider, "customers")
    assert "events.tenure widened" in {one.name for one in contract_changes(old, new)}
    assert "events.tenure narrowed" in {one.name for one in contract_changes(new, old)}
    assert contract_changes(old, old) == []


def test_stored_contracts_that_code_no_longer_reads_are_refused_until_accepted() -> None:
    broken = StoredContract("customers", TODAY | {"events": b"a: ["})
    plan = contract_plan(broken, StoredContract("customers", TODAY))
    assert [one.name for one in plan.breaking] == ["events cannot be compared"]


def test_the_command_compares_folders_and_exits_with_1_when_something_breaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write_contracts(tmp_path / "old", [new_field("area_of_test", "text", "default")])
    new = write_contracts(tmp_path / "new", [])
    folders = ["--dataset=customers", f"--old={old}", f"--new={new}"]
    assert main(folders) == 1
    assert "BREAKS readers: events.area_of_test removed" in capsys.readouterr().out
    assert main(["--dataset=customers", f"--old={new}", f"--new={old}"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"gold\.customers\n +area_of_test added", said)


def test_a_contract_has_the_id_of_its_bytes() -> None:
    one, other = StoredContract("customers", TODAY), StoredContract("customers", TODAY | {"silver": b"x"})
    assert one.contract_id == StoredContract("customers", dict(reversed(TODAY.items()))).contract_id
    assert one.contract_id != other.contract_id
