"""What a contract says, as plain frozen objects: the only source of columns, keys, defaults and rules.

The loader makes these from the ODCS files; the compilers (`compile_spark`, `compile_postgres`,
`compile_gx`, `dictionary`) turn them into what each engine wants. Nothing here imports an engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

INCARNATION = "_incarnation"
"""Column of the lake's tables: which log of its topic's name a record was in; null reads as 0."""


class ColumnType(StrEnum):
    """The types a column may have; each compiler has one table from these to its own types."""

    STRING = "string"
    INTEGER = "integer"  # 32 bits
    LONG = "long"  # 64 bits
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"  # UTC, microseconds
    DATE = "date"
    STRINGS = "strings"  # a list of strings


class Severity(StrEnum):
    """What a failed rule means: `critical` blocks publication, `warning` only mails."""

    CRITICAL = "critical"
    WARNING = "warning"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    `minimum`, `maximum` are inclusive; `earliest` is inclusive and UTC. `default` fills a missing optional
    value; without one, and without `transform`, it stays null. `transform` is the contract's transformLogic
    (Spark SQL and Postgres both understand it).
    """

    name: str
    type: ColumnType
    description: str
    required: bool = False
    precision: int | None = None
    scale: int | None = None
    enum: tuple[str, ...] = ()
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    earliest: datetime | None = None
    max_length: int | None = None
    default: str | int | bool | Decimal | None = None
    transform: str | None = None
    classification: str | None = None
    is_label: bool = False
    """The value comes from the enrichment source, by the entity's key."""

    @property
    def always_has_value(self) -> bool:
        """Whether each row has one: it is required, has a default or is derived; else it may be null."""
        return self.required or self.default is not None or self.transform is not None

    @property
    def is_pii(self) -> bool:
        """Whether the value may identify a person (classification `pii`)."""
        return self.classification == "pii"


@dataclass(frozen=True)
class QualityRule:
    """One expectation of the gate.

    `expectation` is the Great Expectations type (`expect_...`), `arguments` its keyword arguments.
    """

    name: str
    description: str
    severity: Severity
    expectation: str
    arguments: Mapping[str, object]


@dataclass(frozen=True)
class ServiceLevel:
    """One slaProperties entry: e.g. `freshness` of 2 `h` (unit as the contract spells it).

    `schedule` is a cron expression (UTC) of the minutes in which the promise counts; None for always.
    """

    name: str
    value: float
    unit: str
    element: str | None = None
    schedule: str | None = None

    @property
    def seconds(self) -> float:
        """The value in seconds; of a duration only."""
        return self.value * {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 31_557_600}[self.unit]


@dataclass(frozen=True)
class Table:
    """One table or topic: ordered columns, key, partition columns, rules and service levels."""

    name: str
    description: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    partitioned_by: tuple[str, ...]
    rules: tuple[QualityRule, ...]
    service_levels: tuple[ServiceLevel, ...]
    fingerprint: str
    """SHA-256 of the contract file, 64 hex digits."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """All column names, in the contract's order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The column of that name; KeyError names the table when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name!r}")


@dataclass(frozen=True)
class Dataset:
    """All contracts of one dataset: its events, its silver table, its gold tables by name.

    `key` names the entity (customer_id), `event_time` orders its versions (updated_at); together they are
    the primary key of `events`.
    """

    name: str
    events: Table
    silver: Table
    gold: Mapping[str, Table]
    key: str
    event_time: str
    topic: str
    replay_topic: str
    files: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """The contract files themselves, by name without their ending."""

    @property
    def fingerprint(self) -> str:
        """The contract hash kept with each bronze row: that of the events contract."""
        return self.events.fingerprint
