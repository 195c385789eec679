"""What a run of the producer sends, checked as a whole before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from medallion_contracts.errors import ParameterError
from medallion_contracts.loader import dataset_names
from medallion_contracts.reasons import FUTURE_TOLERANCE

MAX_COUNT = 100_000_000
MAX_RATE = 1_000_000
MAX_CUSTOMERS = 10_000_000


class Source(StrEnum):
    """Where events come from."""

    TELCO = "telco"  # the public Telco customer table, a CSV with its own column names
    CSV = "csv"  # a CSV file with the event's field names, sent as it is
    JSONL = "jsonl"  # a file with one event a line, sent byte for byte
    SYNTHETIC = "synthetic"  # made up

    @property
    def is_file(self) -> bool:
        """Whether the source needs a file."""
        return self is not Source.SYNTHETIC

    @property
    def is_sent_as_it_is(self) -> bool:
        """Whether the producer only carries the events, whatever they hold."""
        return self in (Source.CSV, Source.JSONL)


Amount = int | float
"""How many records of a kind: an int is a number of records, a float a fraction of the events."""


@dataclass(frozen=True)
class Parameters:
    """One run of the producer.

    Attributes:
        source: Where events come from.
        file: The file of a file source.
        folder: What the file must be in; None for anywhere.
        dataset: Whose contract and topic; by default the first of all.
        rate: Records per second at most; None for as fast as possible.
        count: Events to send, without the broken, duplicated and late ones; None for the whole source.
        loop: Begin again at the end of a file, until `count` or until stopped.
        seed: The same seed makes the same customers and the same faults.
        as_of: Timezone-aware. Events that the producer makes are dated over the five minutes before it,
            so that the same run again sends the same bytes; None dates each event when it is sent.
        customers: How many customers the synthetic source knows.
        broken, duplicated, late: Records to send besides the events.

    Raises:
        ParameterError: The parameters are not valid; lists all problems.
    """

    source: Source
    file: Path | None = None
    folder: Path | None = None
    dataset: str = field(default_factory=lambda: dataset_names()[0])
    rate: float | None = None
    count: int | None = None
    loop: bool = False
    seed: int = 0
    as_of: datetime | None = None
    customers: int = 10_000
    broken: Amount = 0
    duplicated: Amount = 0
    late: Amount = 0

    def __post_init__(self) -> None:
        problems = [*self._problems_of_source(), *self._problems_of_amounts(), *self._problems_of_time()]
        if problems:
            raise ParameterError("the producer's parameters are not valid", problems)

    @property
    def is_endless(self) -> bool:
        """Whether only a signal ends the run."""
        return self.count is None and (self.loop or self.source is Source.SYNTHETIC)

    def _problems_of_source(self) -> Iterator[str]:
        if self.source.is_file and self.file is None:
            yield f"file: the source {self.source} needs one: the path of a file that this machine can read"
        if not self.source.is_file and self.file is not None:
            yield f"file: the source {self.source} takes none"
        if not self.source.is_file and self.loop:
            yield f"loop: the source {self.source} never ends, leave it out"
        if not 1 <= self.customers <= MAX_CUSTOMERS:
            yield f"customers: must be from 1 to {MAX_CUSTOMERS:,}, not {self.customers}"

    def _problems_of_amounts(self) -> Iterator[str]:
        if self.rate is not None and not 0 < self.rate <= MAX_RATE:
            yield f"rate: must be above 0 and at most {MAX_RATE:,} records a second, not {self.rate}"
        if self.count is not None and not 1 <= self.count <= MAX_COUNT:
            yield f"count: must be from 1 to {MAX_COUNT:,}, not {self.count}"
        for name in ("broken", "duplicated", "late"):
            amount: Amount = getattr(self, name)
            limit = 1 if isinstance(amount, float) else MAX_COUNT
            if not 0 <= amount <= limit:
                yield f"{name}: must be a number of records, or a fraction from 0.0 to 1.0, not {amount}"
            elif amount and self.source.is_sent_as_it_is:
                yield f"{name}: a {self.source} file is sent as it is; use the source telco or synthetic"
            elif amount and isinstance(amount, int) and self.is_endless:
                yield f"{name}: a run without end needs a fraction, such as 0.01, or give count"

    def _problems_of_time(self) -> Iterator[str]:
        if self.as_of is None:
            return
        if self.source.is_sent_as_it_is:
            yield f"as_of: the events of a {self.source} file carry their own time"
        if self.is_endless:
            yield "as_of: a run without end dates each event when it is sent; give count, or leave as_of out"
        if self.as_of.tzinfo is None:
            yield f"as_of: needs an offset, as in {self.as_of.isoformat()}Z"
        elif self.as_of > datetime.now(UTC) + FUTURE_TOLERANCE:
            yield f"as_of: {self.as_of.isoformat()} lies in the future, where every event is rejected"


def amount(text: str) -> Amount:
    """Read `12` as a number of records and `0.01` as a fraction; ValueError for anything else."""
    return int(text) if text.strip().lstrip("+-").isdecimal() else float(text)
