"""A run's parameters become the producer's or the replay's; what is not valid is told once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from traceback import format_exception
from types import SimpleNamespace
from typing import Any

import pytest

from medallion_contracts.errors import ParameterError
from medallion_ops.producer.task import ProducerOperator, parameters
from medallion_ops.replay.tasks import count_rows

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NO_TIME = "yesterday"  # a traceback shows lines of this file too


def test_a_producer_run_sends_the_same_events_when_it_is_retried() -> None:
    given = {"source": "synthetic", "file": None, "count": 10, "as_of": None}
    assert parameters(given, NOON) == parameters(given, NOON)
    assert parameters(given, NOON).as_of == NOON
    endless = {**given, "count": None}
    assert parameters(endless, NOON).as_of is None, "a run without end dates each event when it is sent"


def test_a_file_is_sent_as_it_is() -> None:
    given = {"source": "jsonl", "file": "/data/events.jsonl", "count": None, "as_of": None}
    assert parameters(given, NOON, Path("/data")).as_of is None


def test_parameters_that_are_not_valid_are_named() -> None:
    run = SimpleNamespace(run_after=NOON)
    without_file: Any = {"params": {"source": "telco", "file": None, "count": None}, "dag_run": run}
    with pytest.raises(ParameterError, match="file: the source telco needs one"):
        ProducerOperator(task_id="produce", dataset="customers").execute(without_file)
    with pytest.raises(ParameterError, match="must be before"):
        count_rows("customers", {"from": "2026-11-25", "to": "2026-11-24"})


def test_a_time_that_is_none_is_named_and_not_quoted() -> None:
    with pytest.raises(ParameterError, match="as_of: is no ISO 8601 time") as refused:
        parameters({"source": "synthetic", "file": None, "as_of": NO_TIME}, NOON)
    assert NO_TIME not in "".join(format_exception(refused.value)), "a log shows causes too"
    with pytest.raises(ParameterError, match="from: is no ISO 8601 time") as refused:
        count_rows("customers", {"from": NO_TIME})
    assert NO_TIME not in "".join(format_exception(refused.value))


def test_a_file_is_read_only_where_a_folder_for_files_is_set() -> None:
    given = {"source": "csv", "file": "events.csv"}
    with pytest.raises(ParameterError, match="MEDALLION_PRODUCER_DIR is not set"):
        parameters(given, NOON)
    assert parameters(given, NOON, Path("/data")).folder == Path("/data")
