"""Loading contracts: what the files mean, and one clear error for all that is wrong with them."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from medallion_contracts.compile.great_expectations import compile_suite
from medallion_contracts.errors import ContractError
from medallion_contracts.loader import claimed_twice, dataset_names, load_dataset, load_folder
from medallion_contracts.model import INCARNATION
from new_fields import dataset_with, new_field, write_contracts

CUSTOMERS = Path(__file__).parents[3] / "expectations" / "medallion_contracts" / "customers"


def copy(tmp_path: Path, **replacements: tuple[str, str]) -> Path:
    """The customers contracts in a folder of their own, with one text replaced per named file."""
    for source in CUSTOMERS.glob("*.odcs.yaml"):
        text = source.read_text()
        old, new = replacements.get(source.name.removesuffix(".odcs.yaml"), ("", ""))
        assert not old or old in text, f"{old!r} is no longer in {source.name}: adapt this test"
        (tmp_path / source.name).write_text(text.replace(old, new, 1) if old else text)
    return tmp_path


def problems(folder: Path) -> str:
    with pytest.raises(ContractError) as caught:
        load_folder(folder, "customers")
    return str(caught.value)


def test_the_fields_of_the_event_in_their_order() -> None:
    events = load_dataset("customers").events
    assert events.column_names[:3] == ("customer_id", "gender", "senior_citizen")
    assert events.primary_key == ("customer_id", "updated_at")
    pii = {column.name for column in events.columns if column.is_pii}
    assert pii >= {"first_name", "last_name", "email"}


def test_silver_takes_the_business_columns_from_events_required_where_they_always_have_a_value() -> None:
    dataset = load_dataset("customers")
    assert dataset.silver.column_names[: len(dataset.events.columns)] == dataset.events.column_names
    for column in dataset.events.columns:
        assert dataset.silver.column(column.name).required == column.always_has_value
    # Rows older than the column have no incarnation.
    assert not dataset.silver.column(INCARNATION).required
    assert dataset.silver.partitioned_by == ("year", "month", "day", "hour")
    assert (dataset.key, dataset.event_time) == ("customer_id", "updated_at")
    assert (dataset.topic, dataset.replay_topic) == ("customers", "customers_replay")


@pytest.mark.parametrize("filling", ["default", "nullable", "derived"])
def test_a_new_field_is_declared_once_and_reaches_every_table_that_takes_all_fields(
    tmp_path: Path, filling: str
) -> None:
    field, today = new_field("loyalty", "whole", filling), load_dataset("customers")
    dataset = dataset_with(tmp_path, [field])
    taking = [dataset.silver, dataset.gold["customers"], dataset.gold["customer_history"]]
    for table in taking:
        assert table.column("loyalty").required == (filling != "nullable"), table.name
        assert table.column("loyalty").transform is None
    assert dataset.silver.fingerprint != today.silver.fingerprint
    # Each check of the gate is there, and those of the new field.
    names = {check.name for checks in compile_suite(dataset).values() for check in checks}
    assert names >= {check.name for checks in compile_suite(today).values() for check in checks}
    assert "loyalty_in_range" in names or filling == "derived"


def test_history_has_the_event_time_under_its_own_name() -> None:
    dataset = load_dataset("customers")
    history = dataset.gold["customer_history"]
    assert history.primary_key == ("customer_id", "valid_from")
    assert "updated_at" not in history.column_names
    assert (history.column("valid_from").transform, history.column("valid_from").required) == (
        "updated_at",
        True,
    )


@pytest.mark.parametrize(
    ("taking", "expected"),
    [
        (
            "{ contract: events, except: [email], rename: { updated_at: valid_from } }",
            "gold_customer_history: it holds one row a version, and lacks email of events",
        ),
        (
            "{ contract: events, columns: [customer_id, gender, updated_at], "
            "rename: { updated_at: valid_from } }",
            "and lacks senior_citizen, partner, dependents",
        ),
        (
            "{ contract: events, rename: { tenure: valid_from } }",
            "gold_customer_history: valid_from must be updated_at",
        ),
        (
            "{ contract: events, except: [nothing], rename: { updated_at: valid_from } }",
            "columnsFrom names 'nothing', which events does not have",
        ),
        (
            "{ contract: events, except: [updated_at], rename: { updated_at: valid_from } }",
            "columnsFrom renames 'updated_at', which it does not take",
        ),
        ("{ contract: events, columns: [gender], except: [email] }", "has columns and except"),
        ("{ contract: events, without: [email] }", "columnsFrom.without is not one of contract, columns"),
        ("{ contract: events, except: email }", "columnsFrom.except must be a list"),
        ("{ contract: events, rename: [email] }", "columnsFrom.rename must be a mapping"),
        ("{ contract: orders }", "columnsFrom must name a contract of this folder"),
        ("{ contract: events, rename: { tenure: gender } }", "column 'gender' is declared twice"),
    ],
)
def test_a_table_of_versions_that_cannot_be_computed_is_refused(
    tmp_path: Path, taking: str, expected: str
) -> None:
    folder = write_contracts(tmp_path, [])
    file = folder / "gold_customer_history.odcs.yaml"
    contract = yaml.safe_load(file.read_text())
    [entry] = contract["schema"][0]["customProperties"]
    entry["value"] = {"primaryKey": ["customer_id", "valid_from"], **yaml.safe_load(taking)}
    file.write_text(yaml.safe_dump(contract))
    assert expected in problems(folder)


def test_two_datasets_may_not_declare_one_relation_of_gold(tmp_path: Path) -> None:
    one, other = write_contracts(tmp_path / "one", []), tmp_path / "other"
    other.mkdir()
    (other / "gold_segment_hourly.odcs.yaml").touch()
    (other / "gold_orders.odcs.yaml").touch()
    (other / "gold_views").mkdir()
    (other / "gold_views" / "customers.sql").touch()
    found = list(claimed_twice({"one": one, "other": other}, "one"))
    assert found == [
        "gold.customers is declared by one and by other: rename one of them",
        "gold.segment_hourly is declared by one and by other: rename one of them",
    ]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"transformLogic": "tenure * partner"}, "multiplies partner, which is no number"),
        ({"transformLogic": "tenure * total_charges"}, "multiplies total_charges, which is derived itself"),
        ({"transformLogic": "tenure * maybe"}, "multiplies maybe, which may be null"),
        ({"transformLogic": "tenure * monthly_charges"}, "the product has 2 decimals, the column 0"),
        ({"logicalTypeOptions": {"minimum": 8}}, "the default 7 is not allowed by the column itself"),
        ({"required": True}, "a required field has no default"),
    ],
)
def test_a_filling_that_no_one_can_honour_is_named(
    tmp_path: Path, entry: dict[str, object], expected: str
) -> None:
    field = new_field("extra", "whole", "nullable" if "transformLogic" in entry else "default")
    fields = [new_field("maybe", "whole", "nullable"), replace(field, entry={**field.entry, **entry})]
    assert expected in problems(write_contracts(tmp_path, fields))


def test_an_unknown_dataset_is_named_with_those_that_exist() -> None:
    assert "customers" in dataset_names()
    with pytest.raises(ContractError, match=r"no dataset 'orders'(?s:.)*customers"):
        load_dataset("orders")


def test_every_problem_of_every_file_is_listed_at_once(tmp_path: Path) -> None:
    folder = copy(
        tmp_path,
        events=("value: Unknown }]", "value: Robot }]"),
        silver=("value: { contract: events }", "value: { contract: orders }"),
    )
    text = (folder / "events.odcs.yaml").read_text()
    text = text.replace("physicalType: decimal(10,2)", "physicalType: money").replace(
        "maximum: 1200", "maximum: lots"
    )
    (folder / "events.odcs.yaml").write_text(text)
    found = problems(folder)
    assert "events.gender: the default 'Unknown' is not in the enum" in found
    assert "events.monthly_charges: a number needs physicalType decimal(precision,scale)" in found
    assert "events.tenure: 'lots' is not a number" in found
    assert "silver: columnsFrom must name a contract of this folder" in found


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: tenure", "name: gender", "column 'gender' is declared twice"),
        ("logicalType: boolean", "logicalType: bool", "logicalType 'bool' is not one of"),
        ("maxLength: 64 }", "pattern: x }", "logicalTypeOptions.pattern is not supported"),
        (
            "transformLogic: monthly_charges * tenure",
            "transformLogic: now()",
            "must be a product of other columns",
        ),
        ('minimum: "2000-01-01T00:00:00Z"', "minimum: once", "'once' is not an ISO 8601 timestamp"),
        ("value: false", "value: 0", "the default 0 is not a boolean"),
        ("description: Given name.", "", "events.first_name: a description is needed"),
        ("kind: DataContract", "kindness: 1", "events.odcs.yaml: kindness: Extra inputs are not permitted"),
        ("unit: m", "unit: fortnights", "needs a number and a unit"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in problems(copy(tmp_path, events=(old, new)))


def test_text_that_is_not_yaml_is_an_error_for_people(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "events.odcs.yaml").write_text("a: [")
    assert "events.odcs.yaml: not a YAML mapping" in problems(folder)
