"""From parameters to the records of a run, in the order in which they are sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from medallion_contracts.errors import ParameterError, SourceError
from medallion_contracts.model import Dataset
from medallion_ops.producer.event_files import CsvEvents, JsonLines
from medallion_ops.producer.faults import Breaker, Shares, encode, late_by
from medallion_ops.producer.files import FileSource
from medallion_ops.producer.mappings import mapping_of, sources_of
from medallion_ops.producer.parameters import Parameters, Source
from medallion_ops.producer.records import Planned, Record
from medallion_ops.producer.timeline import as_text, live, spread_until
from medallion_ops.producer.undated_event import UndatedEvent

Item = TypeVar("Item")
_APART = timedelta(seconds=1)  # several late versions of one event are versions of their own


def plan(parameters: Parameters, dataset: Dataset, watermark: timedelta) -> Iterator[Planned]:
    """The records of the run; reads and checks the whole source before it returns.

    Args:
        parameters: What to send.
        dataset: Whose contract the events follow.
        watermark: The stream's; late versions are dated before it.

    Raises:
        ParameterError: The dataset has no such source.
        SourceError: The file cannot be read or holds rows that are no events.
    """
    mapping = mapping_of(dataset.name)
    if mapping is not None and parameters.source in mapping.SOURCES:
        if parameters.source is Source.SYNTHETIC:
            made = islice(mapping.made_up(parameters), parameters.count)
            return _dated(made, parameters.count, parameters, dataset, watermark)
        rows, events = _repeated(mapping.telco_table(parameters), parameters)
        return _dated(rows, events, parameters, dataset, watermark)
    if parameters.file is None or not parameters.source.is_sent_as_it_is:
        known = ", ".join(sources_of(dataset.name))
        problem = f"source: {dataset.name} has no {parameters.source}, only {known}"
        raise ParameterError("the producer's parameters are not valid", [problem])
    reader = CsvEvents if parameters.source is Source.CSV else JsonLines
    return _repeated(reader(parameters.file, dataset, parameters.folder), parameters)[0]


def _repeated(source: FileSource[Item], parameters: Parameters) -> tuple[Iterator[Item], int | None]:
    """The items to send and their number, None without end."""
    size = source.check()
    if not parameters.loop:
        size = min(size, parameters.count or size)
        return islice(source, size), size
    return islice(_again_and_again(source), parameters.count), parameters.count


def _again_and_again(source: FileSource[Item]) -> Iterator[Item]:
    """The items of one pass after the other.

    Raises:
        SourceError: A pass found none: the file was emptied, and looking for more would never end.
    """
    while True:
        is_empty = True
        for item in source:
            is_empty = False
            yield item
        if is_empty:
            raise SourceError(
                f"{source.file.shown} changed while it was sent", ["it holds no events any more"]
            )


def _dated(
    made: Iterable[UndatedEvent],
    events: int | None,
    parameters: Parameters,
    dataset: Dataset,
    watermark: timedelta,
) -> Iterator[Planned]:
    """Gives events their time, and adds the broken, duplicated and late records.

    A repeat and a broken record follow their event. A late version needs a newer event at a smaller offset of
    its partition: its own event is one, as both have the same key. It waits for the end of the run, so that
    the stream may just as well compare with older stretches of the partition; an endless run has no end to
    wait for.
    """
    if parameters.as_of is not None and events is not None:
        timeline = spread_until(parameters.as_of, events)
    else:
        timeline = live()
    duplicated, broken, late = (
        Shares(amount, events) for amount in (parameters.duplicated, parameters.broken, parameters.late)
    )
    breaker = Breaker(dataset)
    before = late_by(watermark)
    waiting: list[Planned] = []
    for index, (key, made_fields, origin) in enumerate(made):
        event_time = timeline(index)
        fields = {**made_fields, dataset.event_time: as_text(event_time)}
        record = Record(key.encode(), encode(fields))
        yield Planned(record, "event", origin)
        for _ in range(duplicated.after(index)):
            yield Planned(record, "duplicate", origin)
        for _ in range(broken.after(index)):
            reason, value = breaker.broken(fields)
            yield Planned(Record(record.key, value), f"broken:{reason}", origin)
        for number in range(late.after(index)):
            older = as_text(event_time - before - number * _APART)
            value = encode({**fields, dataset.event_time: older})
            waiting.append(Planned(Record(record.key, value), "late", origin))
        if events is None:
            yield from waiting
            waiting.clear()
    yield from waiting
