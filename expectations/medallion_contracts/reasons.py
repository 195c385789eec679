"""Why a record is not in silver: the spellings kept in bronze, quarantine and ledger."""

from __future__ import annotations

from datetime import timedelta

MALFORMED = "malformed"
"""Not one strict JSON object in UTF-8."""
FUTURE = "future"
"""The event time is later than the broker's or the batch's clock allows."""
FUTURE_TOLERANCE = timedelta(minutes=5)
"""How far an event time may be ahead of the clock it is measured by before it counts as `future`."""
CONFLICT = "conflict"
"""The same key as an accepted version, with other content."""
CONTRACT_CHANGED = "contract_changed"
"""Bronze says silver, but today's contract can no longer make the row."""


def missing(field: str) -> str:
    """A required field is absent, null or blank."""
    return f"missing:{field}"


def wrong_type(field: str) -> str:
    """The field is of another JSON type."""
    return f"type:{field}"


def wrong_value(field: str) -> str:
    """The field is of the right type, but outside what the contract allows."""
    return f"value:{field}"


def unknown(field: str) -> str:
    """The contract does not know the field, and the setting rejects such records."""
    return f"unknown:{field}"
