"""When a streaming driver is submitted, waited for, held back, or reported as ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from medallion_contracts.errors import ServiceUnavailable, SubmissionUnknown
from medallion_ops.spark.jobs import SparkJob
from medallion_ops.spark.submission import NOT_FOUND, DriverStatus
from medallion_ops.streaming.decision import (
    END_SECONDS,
    FIRST_HEARTBEAT_SECONDS,
    HANG_GRACE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    SILENT_SECONDS,
    START_SECONDS,
    Observation,
    Step,
    decide,
)
from medallion_ops.streaming.driver import StreamDriver
from medallion_store.control_files import control_files
from medallion_store.lake_paths import LakePaths
from medallion_store.stop_request import StopRequest, StopRequests
from medallion_store.stream_driver import Submission
from medallion_store.stream_failure import failure_of
from settings_of_tests import settings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


SUBMITTED = Submission("token", ago(3600), driver_id="driver-1")
HANG_SECONDS = 600.0
BEAT: dict[str, Any] = {"submission": "token", "driver_id": "driver-1", "at": ago(10)}


def seen(
    submission: Submission | None = SUBMITTED,
    state: str | None = "RUNNING",
    heartbeat: dict[str, Any] | None = BEAT,
    failure: dict[str, Any] | None = None,
    is_stop_requested: bool = False,
    stop_request: StopRequest | None = None,
    hang: dict[str, Any] | None = None,
) -> Observation:
    status = None
    if submission is not None and submission.driver_id and state:
        status = DriverStatus(submission.driver_id, state)
    if is_stop_requested:
        stop_request = StopRequest("r", "test", ago(60))
    left = failure_of(failure)
    return Observation(NOW, submission, status, heartbeat, left, stop_request, hang, HANG_SECONDS)


def test_the_first_driver_is_submitted() -> None:
    assert decide(seen(submission=None)).step is Step.SUBMIT


def test_nothing_is_submitted_while_a_stop_request_is_there() -> None:
    assert decide(seen(submission=None, is_stop_requested=True)).step is Step.HOLD


@pytest.mark.parametrize("state", ["SUBMITTED", "RUNNING", "RELAUNCHING", "UNKNOWN"])
def test_a_driver_that_is_there_is_waited_for(state: str) -> None:
    assert decide(seen(state=state)).step is Step.WAIT


def test_a_driver_asked_to_stop_is_waited_for() -> None:
    assert decide(seen(is_stop_requested=True)).step is Step.WAIT


@pytest.mark.parametrize("state", ["FINISHED", "FAILED", "KILLED", "ERROR"])
def test_an_end_that_nobody_asked_for_is_an_incident(state: str) -> None:
    verdict = decide(seen(state=state))
    assert verdict.step is Step.END
    assert not verdict.is_planned
    assert state in verdict.reason


def test_an_end_after_a_stop_request_is_planned() -> None:
    verdict = decide(seen(state="FINISHED", is_stop_requested=True))
    assert verdict.step is Step.END
    assert verdict.is_planned


def test_an_end_is_planned_also_when_the_request_is_gone_by_now() -> None:
    assert decide(seen(state="FINISHED", heartbeat={**BEAT, "state": "stopped"})).is_planned
    assert not decide(seen(state="FINISHED", heartbeat={**BEAT, "state": "ended"})).is_planned
    assert not decide(
        seen(state="FINISHED", heartbeat={**BEAT, "submission": "x", "state": "stopped"})
    ).is_planned


def test_a_crash_during_a_stop_request_is_an_incident() -> None:
    assert not decide(seen(state="FAILED", is_stop_requested=True)).is_planned


def test_a_driver_that_gave_up_says_at_which_batch() -> None:
    failure = {"batch_id": 41, "error": "counts do not add up", "at": ago(30)}
    verdict = decide(seen(state="FINISHED", failure=failure))
    assert verdict.step is Step.END
    assert "batch 41: counts do not add up" in verdict.reason


def test_a_librarys_message_is_not_mailed_as_it_may_quote_a_record() -> None:
    failure = {"batch_id": 41, "error": "ArithmeticException: bad 'jane@example.com'", "at": ago(30)}
    reason = decide(seen(state="FINISHED", failure=failure)).reason
    assert "ArithmeticException" in reason
    assert "jane" not in reason


def test_a_failure_after_which_the_stream_worked_is_not_blamed_for_a_later_end() -> None:
    failure = {"batch_id": 41, "error": "BalanceError", "at": ago(30), "ended_by": "driver"}
    assert "batch 41" not in decide(seen(state="FAILED", failure=failure)).reason
    by_a_person = {**failure, "ended_by": "accept-log"}
    assert "batch 41" in decide(seen(state="FINISHED", failure=by_a_person)).reason, (
        "it is why that driver ended"
    )


def test_an_unasked_end_says_since_when_the_trouble_is_known_and_by_which_error() -> None:
    failure = {"batch_id": None, "error": "another log", "kind": "OtherLogError", "at": ago(30)}
    verdict = decide(seen(state="FINISHED", failure=failure))
    assert (verdict.since, verdict.kind) == (NOW - timedelta(seconds=30), "OtherLogError")
    assert decide(seen(state="KILLED")).since == NOW - timedelta(seconds=10), "its last heartbeat"
    assert decide(seen(state="KILLED", heartbeat=None)).since == NOW - timedelta(seconds=3600), "never began"
    standing = {**BEAT, "at": ago(10), "idle_seconds": HANG_SECONDS + HANG_GRACE_SECONDS + 1}
    assert decide(seen(heartbeat=standing)).since == NOW - timedelta(seconds=731)


def test_the_failure_of_an_earlier_driver_is_not_blamed_on_this_one() -> None:
    failure = {"batch_id": 41, "error": "BalanceError", "at": ago(7200)}
    assert "batch 41" not in decide(seen(state="FINISHED", failure=failure)).reason


def test_a_driver_unknown_to_a_restarted_master_is_waited_for_while_it_beats() -> None:
    assert decide(seen(state=NOT_FOUND)).step is Step.WAIT
    silent = {**BEAT, "at": ago(90)}
    assert decide(seen(state=NOT_FOUND, heartbeat=silent)).step is Step.END


def test_a_running_driver_without_a_heartbeat_is_an_incident() -> None:
    assert decide(seen(heartbeat={**BEAT, "at": ago(SILENT_SECONDS + 1)})).step is Step.END
    assert decide(seen(heartbeat={**BEAT, "submission": "another"})).step is Step.END


def test_a_driver_that_is_starting_has_time_to_its_first_heartbeat() -> None:
    young = replace(SUBMITTED, requested_at=ago(FIRST_HEARTBEAT_SECONDS - 1))
    assert decide(seen(young, heartbeat=None)).step is Step.WAIT


def test_a_driver_that_waits_for_a_worker_is_not_stopped() -> None:
    assert decide(seen(state="RELAUNCHING", heartbeat=None)).step is Step.WAIT


def test_a_submission_without_an_answer_is_waited_for_and_then_repeated() -> None:
    unanswered = Submission("token", ago(START_SECONDS - 1))
    assert decide(seen(unanswered, heartbeat=None)).step is Step.WAIT
    given_up = replace(unanswered, requested_at=ago(START_SECONDS + 1))
    assert decide(seen(given_up, heartbeat=None)).step is Step.SUBMIT
    assert decide(seen(given_up, heartbeat=None, is_stop_requested=True)).step is Step.HOLD


@pytest.mark.parametrize(
    ("failures", "pause"), [(1, 15), (2, 30), (3, 60), (7, LONGEST_PAUSE_SECONDS), (500, 900)]
)
def test_drivers_that_end_soon_are_submitted_ever_more_slowly(failures: int, pause: int) -> None:
    ended = replace(SUBMITTED, failures=failures)
    assert decide(seen(replace(ended, ended_at=ago(pause - 1)), "FAILED")).step is Step.HOLD
    assert decide(seen(replace(ended, ended_at=ago(pause + 1)), "FAILED")).step is Step.SUBMIT


class Cluster:
    """A master in memory: what it is asked to start, and what it says of each driver."""

    def __init__(self) -> None:
        self.jobs: list[SparkJob] = []
        self.states: dict[str, str] = {}
        self.killed: list[str] = []
        self.error: ServiceUnavailable | None = None
        self.obeys = True

    def submit(self, job: SparkJob) -> str:
        self.jobs.append(job)
        if isinstance(self.error, SubmissionUnknown):
            self.states[f"driver-{len(self.states)}"] = "RUNNING"
        if self.error is not None:
            raise self.error
        driver_id = f"driver-{len(self.states)}"
        self.states[driver_id] = "RUNNING"
        return driver_id

    def status(self, driver_id: str) -> DriverStatus:
        return DriverStatus(driver_id, self.states.get(driver_id, NOT_FOUND))

    def kill(self, driver_id: str) -> None:
        self.killed.append(driver_id)
        if self.obeys and self.states.get(driver_id) == "RUNNING":
            self.states[driver_id] = "KILLED"


class Stream:
    """The driver of a lake in a folder, on a cluster in memory."""

    def __init__(self, folder: Path) -> None:
        here = settings(LAKE_URI=str(folder), LAKE_AUTH="none")
        self.paths = LakePaths(str(folder), "customers")
        self.files = control_files(here.lake.login)
        self.cluster = Cluster()
        self._settings = here

    @property
    def driver(self) -> StreamDriver:
        """A new one each time, as after a restart of Airflow."""
        return StreamDriver(self._settings, "customers", self.cluster)

    def record(self) -> dict[str, Any]:
        content = self.files.read(self.paths.stream_driver)
        assert content is not None
        return content

    def beat(self, driver_id: str, state: str = "waiting") -> None:
        now = datetime.now(UTC).isoformat()
        beat = {"submission": self.record()["token"], "driver_id": driver_id, "at": now, "state": state}
        self.files.write(self.paths.heartbeat, beat)


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path)


def test_a_restart_finds_the_driver_that_runs(stream: Stream) -> None:
    assert stream.driver.submit() == "driver-0"
    verdict = stream.driver.observe()
    assert (verdict.step, verdict.driver_id) == (Step.WAIT, "driver-0")


def test_a_crash_before_the_driver_id_was_written_does_not_start_a_second_one(stream: Stream) -> None:
    stream.cluster.error = SubmissionUnknown("no answer")
    with pytest.raises(SubmissionUnknown):
        stream.driver.submit()
    assert stream.driver.observe().step is Step.WAIT
    stream.beat("driver-0")
    verdict = stream.driver.observe()
    assert (verdict.step, verdict.driver_id) == (Step.WAIT, "driver-0")
    assert stream.record()["driver_id"] == "driver-0"


def test_a_refused_submission_is_tried_again_at_once(stream: Stream) -> None:
    stream.cluster.error = ServiceUnavailable("connection refused")
    with pytest.raises(ServiceUnavailable):
        stream.driver.submit()
    assert stream.driver.observe().step is Step.SUBMIT


def test_a_driver_that_moved_to_another_worker_is_followed(stream: Stream) -> None:
    stream.driver.submit()
    stream.cluster.states |= {"driver-0": "RELAUNCHING", "driver-7": "RUNNING"}
    stream.beat("driver-7")
    assert stream.driver.observe().driver_id == "driver-7"
    stream.cluster.states["driver-7"] = "FINISHED"
    assert stream.driver.observe().step is Step.END


def test_a_stream_that_runs_is_followed_whoever_submitted_it(stream: Stream) -> None:
    stream.driver.submit()
    stream.beat("driver-0")
    stream.files.delete(stream.paths.stream_driver)
    verdict = stream.driver.observe()
    assert (verdict.step, verdict.driver_id) == (Step.WAIT, "driver-0")


def test_of_two_drivers_the_one_that_works_is_kept(stream: Stream) -> None:
    stream.driver.submit()
    stream.beat("driver-0")
    stream.files.write(stream.paths.stream_driver, {**stream.record(), "token": "lost", "driver_id": None})
    assert stream.driver.submit() == "driver-1"
    assert stream.driver.observe().driver_id == "driver-0"
    assert stream.cluster.killed == ["driver-1"]


def test_the_last_heartbeat_of_a_dead_driver_does_not_distract_from_the_new_one(stream: Stream) -> None:
    stream.driver.submit()
    stream.beat("driver-0")
    stream.cluster.states["driver-0"] = "FAILED"
    stream.driver.close(stream.driver.observe())
    assert stream.driver.submit() == "driver-1"
    assert stream.driver.observe().driver_id == "driver-1"
    assert stream.cluster.killed == ["driver-0"]  # by close: makes sure of the end


def test_a_recovery_is_asked_of_drivers_until_the_stream_runs(stream: Stream) -> None:
    stream.files.write(stream.paths.recover_request, {})
    stream.driver.submit()
    assert "--recover-from-ledger" in stream.cluster.jobs[-1].arguments
    stream.beat("driver-0", state="starting")
    stream.driver.observe()
    assert stream.files.read(stream.paths.recover_request) is not None
    stream.beat("driver-0", state="waiting")
    stream.driver.observe()
    assert stream.files.read(stream.paths.recover_request) is None
    stream.driver.submit()
    assert "--recover-from-ledger" not in stream.cluster.jobs[-1].arguments


def test_a_recovery_outlasts_the_heartbeat_of_the_driver_that_lost_its_checkpoint(stream: Stream) -> None:
    stream.driver.submit()
    stream.beat("driver-0", state="working")
    stream.files.write(stream.paths.recover_request, {})
    stream.driver.observe()
    assert stream.files.read(stream.paths.recover_request) is not None


def test_a_driver_that_cannot_start_says_why() -> None:
    failure = {"batch_id": None, "error": "the checkpoint is gone", "at": ago(30)}
    assert "cannot start: the checkpoint is gone" in decide(seen(state="FINISHED", failure=failure)).reason


def test_a_file_of_a_newer_release_is_understood(stream: Stream) -> None:
    stream.driver.submit()
    stream.files.write(stream.paths.stream_driver, {**stream.record(), "new_in_the_next_release": 1})
    assert stream.driver.observe().driver_id == "driver-0"


def test_an_end_is_reported_once(stream: Stream) -> None:
    stream.driver.submit()
    stream.cluster.states["driver-0"] = "FAILED"
    stream.driver.close(stream.driver.observe())
    assert stream.driver.observe().step is Step.HOLD  # the pause before the next one
    assert stream.record()["failures"] == 1


def test_a_silent_driver_is_stopped_before_another_is_submitted(stream: Stream) -> None:
    stream.driver.submit()
    old = (datetime.now(UTC) - timedelta(seconds=FIRST_HEARTBEAT_SECONDS + 1)).isoformat()
    stream.files.write(stream.paths.stream_driver, {**stream.record(), "requested_at": old})
    verdict = stream.driver.observe()
    assert verdict.step is Step.END
    stream.driver.close(verdict)
    assert stream.cluster.killed == ["driver-0"]


def test_a_planned_end_resets_the_count_of_failures(stream: Stream) -> None:
    stream.driver.submit()
    stream.files.write(stream.paths.stream_driver, {**stream.record(), "failures": 3})
    stream.files.write(stream.paths.stop_request, {"owner": "test"})
    stream.cluster.states["driver-0"] = "FINISHED"
    stream.driver.close(stream.driver.observe())
    assert stream.driver.observe().step is Step.HOLD
    StopRequests(stream.files, stream.paths).release(None)
    assert stream.driver.observe().step is Step.SUBMIT


def test_a_driver_that_does_not_get_on_is_ended_although_it_beats() -> None:
    limit = HANG_SECONDS + HANG_GRACE_SECONDS
    assert decide(seen(heartbeat={**BEAT, "batch_id": 7, "idle_seconds": limit - 1})).step is Step.WAIT
    verdict = decide(seen(heartbeat={**BEAT, "batch_id": 7, "idle_seconds": limit + 1}))
    assert verdict.step is Step.END
    assert not verdict.is_planned
    assert "batch 7" in verdict.reason


def test_a_long_batch_that_gets_on_is_waited_for() -> None:
    heartbeat = {**BEAT, "batch_started_at": ago(90_000), "last_task_at": ago(20), "idle_seconds": 20}
    assert decide(seen(heartbeat=heartbeat)).step is Step.WAIT


def test_a_driver_whose_heartbeat_says_that_it_ends_and_that_does_not_is_ended() -> None:
    last = {**BEAT, "state": "hanging", "at": ago(SILENT_SECONDS + 1)}
    assert decide(seen(heartbeat=last)).step is Step.END
    assert decide(seen(heartbeat={**last, "at": ago(30)})).step is Step.WAIT


def test_a_batch_that_hung_is_reported_once() -> None:
    hang = {"at": ago(30), "batch_id": 7, "error": "batch 7 hung"}
    verdict = decide(seen(hang=hang))
    assert (verdict.step, "batch 7 hung" in verdict.reason) == (Step.REPORT, True)
    assert decide(seen(replace(SUBMITTED, reported_hang=ago(30)), hang=hang)).step is Step.WAIT
    assert decide(seen(hang={**hang, "at": ago(7200)})).step is Step.WAIT, "an earlier driver's"


def test_a_stop_request_taken_back_at_once_still_ends_the_driver_that_ran() -> None:
    request = StopRequest("r", "a person", ago(60), released_at=ago(59))
    assert "asked to stop" in decide(seen(stop_request=request)).reason
    verdict = decide(seen(state="FINISHED", heartbeat=None, stop_request=request))
    assert (verdict.step, verdict.is_planned) == (Step.END, True)
    known = replace(SUBMITTED, after_stop="r")
    assert "asked to stop" not in decide(seen(known, stop_request=request)).reason
    assert not decide(seen(known, state="FINISHED", heartbeat=None, stop_request=request)).is_planned
    assert decide(seen(submission=None, stop_request=request)).step is Step.SUBMIT


def test_a_failure_is_reported_also_when_a_stop_was_asked_for_and_taken_back() -> None:
    request = StopRequest("r", "a person", ago(60), released_at=ago(59))
    failure = {"batch_id": 41, "error": "counts do not add up", "at": ago(30)}
    assert not decide(seen(state="FINISHED", failure=failure, stop_request=request)).is_planned


def test_a_stop_request_that_no_one_takes_back_is_in_the_reason_after_hours() -> None:
    request = StopRequest("r", "run-1", ago(4 * 3600))
    verdict = decide(seen(submission=None, stop_request=request))
    assert verdict.step is Step.HOLD
    assert "4 hours" in verdict.reason
    assert "control start" in verdict.reason


def test_a_driver_that_was_ended_and_is_still_there_holds_the_next_one_back(stream: Stream) -> None:
    ended = replace(SUBMITTED, ended_at=ago(END_SECONDS - 1))
    assert decide(seen(ended)).step is Step.HOLD
    assert decide(seen(replace(ended, ended_at=ago(END_SECONDS + 1)))).step is Step.SUBMIT
    stream.driver.submit()
    stream.cluster.obeys = False
    stream.driver.close(stream.driver.observe())
    stream.files.write(stream.paths.stream_driver, {**stream.record(), "failures": 0})
    assert stream.driver.observe().step is Step.HOLD
    stream.cluster.obeys = True
    stream.driver.observe()
    assert stream.driver.observe().step is Step.SUBMIT


def test_of_two_processes_that_find_no_driver_one_submits(stream: Stream) -> None:
    first, second = stream.driver, stream.driver
    assert first.observe().step is second.observe().step is Step.SUBMIT
    assert first.submit() == "driver-0"
    assert second.submit() is None
    assert len(stream.cluster.jobs) == 1
    assert second.observe().driver_id == "driver-0"


def test_the_next_driver_knows_the_requests_before_it_and_its_predecessor(stream: Stream) -> None:
    stream.driver.submit()
    stops = StopRequests(stream.files, stream.paths)
    request = stops.request("a person")
    stops.release(None)
    stream.cluster.states["driver-0"] = "FINISHED"
    stream.driver.close(stream.driver.observe())
    assert stream.driver.submit() == "driver-1"
    assert stream.record()["after_stop"] == request.id
    assert stream.record()["previous_driver_id"] == "driver-0"


def test_a_hang_is_noted_as_reported(stream: Stream) -> None:
    stream.driver.submit()
    stream.beat("driver-0")
    now = datetime.now(UTC).isoformat()
    stream.files.write(stream.paths.hang, {"at": now, "batch_id": 1, "error": "batch 1 hung"})
    assert stream.driver.observe().step is Step.REPORT
    stream.driver.note_reported()
    assert stream.driver.observe().step is Step.WAIT


def test_a_file_of_the_release_before_is_understood(stream: Stream) -> None:
    old = {"token": "t", "requested_at": ago(0), "driver_id": "driver-9", "ended_at": None, "failures": 1}
    stream.files.write(stream.paths.stream_driver, old)
    stream.cluster.states["driver-9"] = "SUBMITTED"
    assert stream.driver.observe().driver_id == "driver-9"
