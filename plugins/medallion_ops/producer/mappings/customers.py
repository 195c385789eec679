"""Customer events: from the Telco table, and made up.

Names and e-mail addresses, which the table lacks, are made up (`names`). Heavy modules are loaded when a run
needs them: DAG files ask here for the sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from medallion_ops.producer.parameters import Parameters, Source
from medallion_ops.producer.telco import (
    Cell,
    TelcoTable,
    amount,
    amount_or_blank,
    one_zero,
    text,
    whole,
    yes_no,
)
from medallion_ops.producer.undated_event import UndatedEvent

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = (Source.TELCO, Source.SYNTHETIC)
_KEY = "customer_id"


class TelcoCustomers(TelcoTable):
    """One event a row: the customer."""

    FIELDS: ClassVar[Mapping[str, tuple[str, Cell]]] = {
        _KEY: ("customerID", text),
        "gender": ("gender", text),
        "senior_citizen": ("SeniorCitizen", one_zero),
        "partner": ("Partner", yes_no),
        "dependents": ("Dependents", yes_no),
        "tenure": ("tenure", whole),
        "phone_service": ("PhoneService", yes_no),
        "internet_service": ("InternetService", text),
        "contract": ("Contract", text),
        "monthly_charges": ("MonthlyCharges", amount),
        "total_charges": ("TotalCharges", amount_or_blank),
    }

    def __init__(self, path: Path, seed: int, folder: Path | None = None) -> None:
        from medallion_ops.producer.names import People

        super().__init__(path, folder)
        self._people = People(seed)

    def events(self, values: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
        """The customer, with a made-up name and address."""
        key = str(values[_KEY])
        yield key, {**values, **self._people.person(key, str(values["gender"]))._asdict()}


def telco_table(parameters: Parameters) -> TelcoCustomers:
    """The customers of the Telco table."""
    assert parameters.file is not None  # noqa: S101 - checked with the parameters
    return TelcoCustomers(parameters.file, parameters.seed, parameters.folder)


def made_up(parameters: Parameters) -> Iterable[UndatedEvent]:
    """Made-up customers, without end."""
    from medallion_ops.producer.synthetic import SyntheticCustomers

    return SyntheticCustomers(parameters.seed, parameters.customers)
