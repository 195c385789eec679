"""Subscription events from the Telco table: one for each customer and service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from medallion_contracts.errors import ParameterError
from medallion_ops.producer.parameters import Parameters, Source
from medallion_ops.producer.telco import Cell, TelcoTable, text, yes_no
from medallion_ops.producer.undated_event import UndatedEvent

SOURCES = (Source.TELCO,)
_SERVICES: Mapping[str, str] = {
    "phone": "PhoneService",
    "multiple_lines": "MultipleLines",
    "internet": "InternetService",
    "online_security": "OnlineSecurity",
    "online_backup": "OnlineBackup",
    "device_protection": "DeviceProtection",
    "tech_support": "TechSupport",
    "streaming_tv": "StreamingTV",
    "streaming_movies": "StreamingMovies",
}
_ACTIVE = frozenset({"Yes", "DSL", "Fiber optic"})


class TelcoSubscriptions(TelcoTable):
    """Nine events a row: the services of the customer, those that it does not have among them."""

    FIELDS: ClassVar[Mapping[str, tuple[str, Cell]]] = {
        "customer_id": ("customerID", text),
        "payment_method": ("PaymentMethod", text),
        "paperless_billing": ("PaperlessBilling", yes_no),
        **{service: (column, text) for service, column in _SERVICES.items()},
    }

    def events(self, values: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
        """The customer's services, in the order of the table."""
        customer_id = values["customer_id"]
        for service in _SERVICES:
            key = f"{customer_id}:{service}"
            yield (
                key,
                {
                    "subscription_id": key,
                    "customer_id": customer_id,
                    "service": service,
                    "variant": values[service],
                    "is_active": values[service] in _ACTIVE,
                    "payment_method": values["payment_method"],
                    "paperless_billing": values["paperless_billing"],
                },
            )


def telco_table(parameters: Parameters) -> TelcoSubscriptions:
    """The subscriptions of the Telco table."""
    assert parameters.file is not None  # noqa: S101  # checked with the parameters
    return TelcoSubscriptions(parameters.file, parameters.folder)


def made_up(parameters: Parameters) -> Iterable[UndatedEvent]:
    """None are made up."""
    raise ParameterError("the producer's parameters are not valid", ["source: subscriptions are not made up"])
