"""The stream is handed over to a driver of this code, once, however often the command is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medallion_contracts.errors import LeaseError, StreamError
from medallion_ops.control import StreamControl
from medallion_ops.lake_settings import LakeSettings
from medallion_ops.roll_out import OWNER, hand_over_stream
from medallion_store.control_files import control_files
from medallion_store.driver_orders import DriverOrders
from medallion_store.heartbeat import STARTING, STOPPED, WAITING
from medallion_store.lake_paths import LakePaths
from medallion_store.release import release
from medallion_store.utc_time import utc_text
from settings_of_tests import settings


@pytest.fixture
def lake(tmp_path: Path) -> LakeSettings:
    (tmp_path / "ledger").mkdir()
    return settings(LAKE_URI=str(tmp_path), LAKE_AUTH="none").lake


def beat(lake: LakeSettings, application: str, state: str, of_release: str) -> None:
    """A sign of life."""
    content = {"state": state, "application_id": application, "release": of_release, "at": utc_text()}
    control_files(lake.login).write(LakePaths(lake.uri, "customers").heartbeat, content)


@contextmanager
def drivers(lake: LakeSettings, releases: list[str]) -> Iterator[list[str]]:
    """Drivers that beat and obey stop requests, one after the other; gives those that were started."""
    files, paths = control_files(lake.login), LakePaths(lake.uri, "customers")
    started: list[str] = []
    end = threading.Event()

    def live() -> None:
        for number, of_release in enumerate(releases):
            orders = DriverOrders(files, paths, None)
            while orders.refusal() and not end.is_set():
                time.sleep(0.02)
            started.append(of_release)
            beat(lake, f"app-{number}", STARTING, of_release)
            while not orders.is_asked_to_stop() and not end.is_set():
                beat(lake, f"app-{number}", WAITING, of_release)
                time.sleep(0.02)
            if end.is_set():
                return
            beat(lake, f"app-{number}", STOPPED, of_release)

    thread = threading.Thread(target=live)
    thread.start()
    while not started or not Path(paths.heartbeat).exists():
        time.sleep(0.02)
    try:
        yield started
    finally:
        end.set()
        thread.join()


def test_the_next_driver_takes_over_and_no_stop_request_is_left(lake: LakeSettings) -> None:
    with drivers(lake, ["old", release(), release()]) as started:
        taken = hand_over_stream(lake, "customers", most_seconds=30)
        assert taken is not None
        assert taken.gap_seconds < 30
        assert started == ["old", release()]
        assert not StreamControl(lake, "customers").release(OWNER)
        # Again: another one takes over, as the code may have changed meanwhile.
        assert hand_over_stream(lake, "customers", most_seconds=30) is not None
        assert len(started) == 3


def test_a_stream_that_does_not_run_is_no_one_to_wait_for(lake: LakeSettings) -> None:
    assert hand_over_stream(lake, "customers", most_seconds=1) is None
    beat(lake, "app", STOPPED, "old")
    assert hand_over_stream(lake, "customers", most_seconds=1) is None


def test_a_roll_out_that_was_killed_is_gone_on_with(lake: LakeSettings) -> None:
    with drivers(lake, ["old", release()]) as started:
        StreamControl(lake, "customers").request_stop(OWNER)
        time.sleep(0.3)
        assert hand_over_stream(lake, "customers", most_seconds=30) is not None
        assert started == ["old", release()]


def test_a_stop_of_another_is_respected(lake: LakeSettings) -> None:
    with drivers(lake, [release()]):
        beat(lake, "app-0", WAITING, release())
        StreamControl(lake, "customers").request_stop("rebuild")
        beat(lake, "app-0", WAITING, release())
        with pytest.raises(LeaseError, match="rebuild"):
            hand_over_stream(lake, "customers", most_seconds=1)


def test_a_driver_of_other_code_is_not_taken_for_the_new_one(lake: LakeSettings) -> None:
    with (
        drivers(lake, ["old", "other"]),
        pytest.raises(StreamError, match=r"no driver of release(?s:.)*customers_streaming"),
    ):
        hand_over_stream(lake, "customers", most_seconds=1.5)
