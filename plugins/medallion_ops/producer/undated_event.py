"""What the sources give whose events the producer makes itself."""

from __future__ import annotations

from typing import NamedTuple


class UndatedEvent(NamedTuple):
    """An event that has no time yet: its Kafka key, JSON-ready fields, and where it comes from."""

    key: str
    fields: dict[str, object]
    origin: str
