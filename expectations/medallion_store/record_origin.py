"""Where a record was first: what its quarantine id is made of, and what its replay carries as a header."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Origin:
    """Coordinates of a record in Kafka.

    `incarnation` counts the logs that a topic of this name has had: 0 is the first. The text leaves 0 out, so
    that ids and headers of earlier releases stay what they were.
    """

    topic: str
    partition: int
    offset: int
    incarnation: int = 0

    def __str__(self) -> str:
        where = f"{self.topic}/{self.partition}/{self.offset}"
        return f"{where}/{self.incarnation}" if self.incarnation else where
