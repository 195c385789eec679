"""How far a stream is behind, and when no one can say: never 0 then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from medallion_ops.monitor.kafka_view import Backlog
from medallion_ops.monitor.lag import with_lag
from medallion_ops.monitor.observation import StreamObservation
from medallion_ops.monitor.stream_view import stream_view
from medallion_store.folder_files import FolderFiles
from medallion_store.lake_paths import LakePaths
from settings_of_tests import settings

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
NOTHING, FIVE = Backlog(0, None), Backlog(5, NOW - timedelta(seconds=30))


def lag(
    waiting: Backlog = NOTHING, *, has_batches: bool = True, **stream: Any
) -> tuple[int | None, float | None]:
    seen = with_lag(replace(StreamObservation(), **stream), waiting, NOW, has_batches=has_batches)
    return seen.backlog_records, seen.backlog_age


def test_what_waits_is_lag_with_the_age_of_its_first_record() -> None:
    assert lag() == (0, 0)
    assert lag(FIVE) == (5, 30)


def test_what_an_open_transaction_holds_back_is_lag() -> None:
    assert lag(held_back=72, held_back_age=120.0) == (72, 120)
    assert lag(FIVE, held_back=72, held_back_age=10.0) == (77, 30)


@pytest.mark.parametrize(
    "unknown",
    [
        {"has_other_log": True},
        {"has_other_log": True, "waiting": FIVE},
        {"waiting": Backlog(5, NOW, shrunk=("customers-0",))},
        {"waiting": Backlog(0, None, missing=("customers",))},
        {"failure": "gave up"},
        {"has_batches": False},
    ],
)
def test_lag_that_is_not_known_is_not_0(unknown: dict[str, Any]) -> None:
    assert lag(**unknown) == (None, None)


def test_what_waits_is_lag_also_before_the_first_batch_and_behind_a_failure() -> None:
    assert lag(FIVE, has_batches=False) == lag(FIVE, failure="gave up") == (5, 30)


def test_the_heartbeat_says_what_is_held_back_as_long_as_it_is_fresh(tmp_path: Path) -> None:
    paths, files = LakePaths(str(tmp_path), "customers"), FolderFiles()
    lake = settings(LAKE_URI=str(tmp_path), LAKE_AUTH="none").lake
    held = {"customers-0": {"last_stable_offset": 3, "end_offset": 75}}
    beat = {"at": NOW.isoformat(), "state": "waiting", "held_back": held, "warnings": ["72 wait"]}
    since = (NOW - timedelta(seconds=40)).isoformat()
    files.write(paths.heartbeat, {**beat, "held_back_since": since})
    seen = stream_view(lake, paths, NOW)
    assert (seen.held_back, seen.held_back_age, seen.warnings) == (72, 40, ("72 wait",))
    later = stream_view(lake, paths, NOW + timedelta(minutes=5))
    assert (later.held_back, later.warnings) == (0, ())
    files.write(paths.heartbeat, {"at": NOW.isoformat(), "state": "waiting"})  # of the release before
    assert stream_view(lake, paths, NOW).held_back == 0
    files.write(paths.other_log, {"logs": []})
    assert stream_view(lake, paths, NOW).has_other_log
