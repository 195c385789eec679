"""Optional fields that the events contract does not have: declared as a person would, of each type."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from medallion_contracts.loader import load_folder
from medallion_contracts.model import Dataset

CUSTOMERS = Path(__file__).parents[2] / "expectations" / "medallion_contracts" / "customers"


@dataclass(frozen=True)
class NewField:
    """A field's entry in `events.odcs.yaml`, and values as a producer may send them."""

    entry: dict[str, Any]
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.entry["name"])


_TYPES: dict[str, tuple[dict[str, Any], Any, tuple[Any, ...]]] = {
    "text": (
        {"logicalType": "string", "logicalTypeOptions": {"maxLength": 20}},
        "none yet",
        ("north", "sûd", "x" * 20),
    ),
    "choice": ({"logicalType": "string", "enum": [{"value": "A"}, {"value": "B b"}]}, "B b", ("A", "B b")),
    "whole": (
        {"logicalType": "integer", "physicalType": "int", "logicalTypeOptions": {"minimum": -5}},
        7,
        (0, 3, 99),
    ),
    "long": (
        {"logicalType": "integer", "physicalType": "bigint", "logicalTypeOptions": {"format": "i64"}},
        2**40,
        (5, 2**50),
    ),
    "amount": (
        {"logicalType": "number", "physicalType": "decimal(12,4)", "logicalTypeOptions": {"maximum": 9999}},
        "0.5",
        ("1.2345", 7, 0.25),
    ),
    "flag": ({"logicalType": "boolean"}, True, (True, False)),
    "time": (
        {"logicalType": "timestamp", "logicalTypeOptions": {"timezone": True}},
        None,
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5+02:00"),
    ),
}
_PRODUCTS = {"whole": "tenure * tenure", "long": "tenure * tenure", "amount": "monthly_charges * tenure"}


def new_field(name: str, kind: str, filling: str) -> NewField:
    """One field.

    Args:
        name: of it.
        kind: text, choice, whole, long, amount, flag or time.
        filling: default, nullable or derived; what the kind does not have is nullable.
    """
    options, default, values = _TYPES[kind]
    entry: dict[str, Any] = {"name": name, "description": f"A {kind}, {filling}.", **options}
    entry["classification"] = "internal"
    if filling == "default" and default is not None:
        entry["customProperties"] = [{"property": "default", "value": default}]
    if filling == "derived" and kind in _PRODUCTS:
        entry["transformLogic"] = _PRODUCTS[kind]
        if kind == "amount":
            entry |= {"physicalType": "decimal(20,4)", "logicalTypeOptions": {}}
    return NewField(entry, values)


def new_fields(least: int = 1, most: int = 4) -> st.SearchStrategy[list[NewField]]:
    """Some fields of random kinds."""
    kinds = st.tuples(st.sampled_from(sorted(_TYPES)), st.sampled_from(["default", "nullable", "derived"]))
    return st.lists(kinds, min_size=least, max_size=most).map(
        lambda drawn: [new_field(f"extra_{n}", kind, filling) for n, (kind, filling) in enumerate(drawn)]
    )


def write_contracts(folder: Path, fields: Sequence[NewField]) -> Path:
    """The contracts of customers in a folder, with the fields after those of the event."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in CUSTOMERS.glob("*.odcs.yaml"):
        text = file.read_text()
        if file.name == "events.odcs.yaml" and fields:
            contract = yaml.safe_load(text)
            contract["schema"][0]["properties"].extend(field.entry for field in fields)
            text = yaml.safe_dump(contract, sort_keys=False)
        (folder / file.name).write_text(text)
    return folder


def dataset_with(folder: Path, fields: Sequence[NewField]) -> Dataset:
    """The dataset customers with the fields."""
    return load_folder(write_contracts(folder, fields), "customers")


def as_value(event: dict[str, Any]) -> bytes:
    """An event as a record's value."""
    return json.dumps(event, ensure_ascii=False).encode()
