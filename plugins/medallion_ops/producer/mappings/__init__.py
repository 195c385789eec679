"""What the producer makes events of itself, a module a dataset, found by its name."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module, util
from typing import Protocol, cast

from medallion_ops.producer.files import FileSource
from medallion_ops.producer.parameters import Parameters, Source
from medallion_ops.producer.undated_event import UndatedEvent


class Mapping(Protocol):
    """A dataset's module.

    Attributes:
        SOURCES: The sources it maps beside the files that are sent as they are; `telco_table` and `made_up`
            are needed where they are among them.
    """

    SOURCES: tuple[Source, ...]

    def telco_table(self, parameters: Parameters) -> FileSource[UndatedEvent]:
        """The Telco table's rows as events."""

    def made_up(self, parameters: Parameters) -> Iterable[UndatedEvent]:
        """Events without end."""


def mapping_of(dataset: str) -> Mapping | None:
    """The dataset's module, None where its events come from files only."""
    name = f"{__name__}.{dataset}"
    if util.find_spec(name) is None:
        return None
    return cast("Mapping", import_module(name))


def sources_of(dataset: str) -> tuple[Source, ...]:
    """Where events of a dataset can come from."""
    mapping = mapping_of(dataset)
    return (*(mapping.SOURCES if mapping else ()), Source.CSV, Source.JSONL)
