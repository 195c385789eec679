"""Loading contracts: what the files mean, and one clear error for all that is wrong with them."""

from pathlib import Path

import pytest

from medallion_contracts.errors import ContractError
from medallion_contracts.loader import dataset_names, load_dataset, load_folder
from medallion_contracts.model import INCARNATION

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


def test_the_fifteen_fields_of_the_event() -> None:
    events = load_dataset("customers").events
    assert events.column_names == (
        "customer_id",
        "gender",
        "senior_citizen",
        "partner",
        "dependents",
        "tenure",
        "phone_service",
        "internet_service",
        "contract",
        "monthly_charges",
        "total_charges",
        "updated_at",
        "first_name",
        "last_name",
        "email",
    )
    assert events.primary_key == ("customer_id", "updated_at")
    assert [column.name for column in events.columns if column.is_pii] == ["first_name", "last_name", "email"]


def test_silver_takes_the_business_columns_from_events_all_of_them_required() -> None:
    dataset = load_dataset("customers")
    names = dataset.silver.column_names
    assert names[:15] == dataset.events.column_names
    # Rows older than the column have no incarnation.
    assert all(column.required for column in dataset.silver.columns if column.name != INCARNATION)
    assert dataset.silver.partitioned_by == ("year", "month", "day", "hour")
    assert (dataset.key, dataset.event_time) == ("customer_id", "updated_at")
    assert (dataset.topic, dataset.replay_topic) == ("customers", "customers_replay")


def test_a_new_field_is_declared_once_and_reaches_every_table_that_takes_all_fields(tmp_path: Path) -> None:
    field = (
        "      - { name: loyalty, logicalType: integer, description: Points., "
        "customProperties: [{ property: default, value: 0 }] }\nslaProperties:"
    )
    dataset = load_folder(copy(tmp_path, events=("slaProperties:", field)), "customers")
    assert "loyalty" in dataset.silver.column_names
    assert dataset.silver.fingerprint != load_dataset("customers").silver.fingerprint


def test_an_unknown_dataset_is_named_with_those_that_exist() -> None:
    assert dataset_names() == ("customers",)
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
