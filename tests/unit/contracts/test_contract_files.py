"""Conventions of the contract files and of what is generated from them."""

import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import yaml

from medallion_contracts.compile.docs import markdown
from medallion_contracts.loader import dataset_names, load_dataset

EXPECTATIONS = Path(__file__).parents[3] / "expectations"
FILES = sorted((EXPECTATIONS / "medallion_contracts").glob("*/*.odcs.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_contract_is_valid_against_the_published_odcs_schema(file: Path) -> None:
    schema = json.loads(resources.files("open_data_contract_standard").joinpath("schema.json").read_text())
    errors = jsonschema.Draft201909Validator(schema).iter_errors(yaml.safe_load(file.read_text()))
    assert not [f"{error.json_path}: {error.message}" for error in errors]


@pytest.mark.parametrize("name", dataset_names())
def test_the_data_dictionary_is_up_to_date(name: str) -> None:
    page = (EXPECTATIONS / "DATA_DICTIONARY.md").read_text()
    assert markdown(load_dataset(name)) in page, "the contracts changed: run `make docs` and commit the page"


@pytest.mark.parametrize("name", dataset_names())
def test_every_column_has_a_classification(name: str) -> None:
    dataset = load_dataset(name)
    tables = [dataset.events, dataset.silver, *dataset.gold.values()]
    bare = [
        f"{table.name}.{column.name}"
        for table in tables
        for column in table.columns
        if not column.classification
    ]
    assert not bare, f"give these columns a classification (internal or pii) in the contract: {bare}"
