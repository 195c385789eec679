"""The producer's task: a run's parameters become the producer's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from medallion_contracts.errors import ParameterError
from medallion_ops.tasks.produce import parameters

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_producer_run_sends_the_same_events_when_it_is_retried() -> None:
    given = {"source": "synthetic", "file": None, "count": 10, "as_of": None}
    assert parameters(given, NOON) == parameters(given, NOON)
    assert parameters(given, NOON).as_of == NOON
    endless = {**given, "count": None}
    assert parameters(endless, NOON).as_of is None, "a run without end dates each event when it is sent"


def test_a_file_is_sent_as_it_is() -> None:
    given = {"source": "jsonl", "file": "/data/events.jsonl", "count": None, "as_of": None}
    assert parameters(given, NOON).as_of is None


def test_a_time_that_is_none_is_named() -> None:
    with pytest.raises(ParameterError, match="yesterday"):
        parameters({"source": "synthetic", "file": None, "as_of": "yesterday"}, NOON)
