"""What goes to Kafka."""

from __future__ import annotations

from typing import NamedTuple

MAX_REQUEST_BYTES = 1_000_000
"""Largest request: Event Hubs closes the connection on more than 1,046,528 bytes."""
LARGEST_RECORD = MAX_REQUEST_BYTES - 1_000
"""Most bytes that key and value may have together: the rest is Kafka's framing."""


class Record(NamedTuple):
    """One Kafka record as bytes: `key` and `value` may be None, headers are (name, bytes)."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Planned(NamedTuple):
    """A record and why it is sent: `event`, `duplicate`, `late`, or `broken:<reason>` (`reasons`).

    `origin` tells a person where it comes from, e.g. `line 12`.
    """

    record: Record
    kind: str
    origin: str
