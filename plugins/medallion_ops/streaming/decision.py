"""What has to be done about the streaming driver, from what the lake and the cluster say. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from medallion_ops.spark.submission import NOT_FOUND, DriverStatus
from medallion_store.heartbeat import STOPPED, is_sign_of_life
from medallion_store.stop_request import StopRequest, forgotten_stop_request
from medallion_store.stream_driver import Submission
from medallion_store.stream_failure import StreamFailure
from medallion_store.utc_time import age_seconds, parse_utc

START_SECONDS = 120
"""How long a submitted driver may take to its first heartbeat before no one waits for it."""
FIRST_HEARTBEAT_SECONDS = 600
"""The same of a driver that the master calls RUNNING."""
SILENT_SECONDS = 240
"""A driver that the master calls RUNNING and whose last heartbeat is older does no work: it was stopped
(SIGSTOP), its machine hangs, or its end does. A crashed one is back sooner."""
HANG_GRACE_SECONDS = 120
"""A driver ends itself when its batch hangs; one that still runs so much later could not."""
END_SECONDS = 300
"""How long another driver is not submitted while one that was ended is still there."""
SHORT_LIFE_SECONDS = 600
"""A driver that ended sooner counts as one more failure in a row."""
FIRST_PAUSE_SECONDS = 15
LONGEST_PAUSE_SECONDS = 900


class Step(StrEnum):
    """What has to be done: WAIT for a driver there is, HOLD back from starting one, REPORT and go on."""

    SUBMIT = "submit"
    WAIT = "wait"
    HOLD = "hold"
    END = "end"
    REPORT = "report"


@dataclass(frozen=True)
class Observation:
    """Everything the decision depends on.

    Args:
        now: the moment.
        submission: the last one.
        status: of its driver; None when it has no id.
        heartbeat: the last one of any driver.
        failure: the last one that a driver left.
        stop_request: the last one, standing or released.
        hang: the last batch that hung and ended its driver.
        hang_seconds: after how many without progress a batch hangs.
    """

    now: datetime
    submission: Submission | None
    status: DriverStatus | None
    heartbeat: Mapping[str, Any] | None
    failure: StreamFailure | None
    stop_request: StopRequest | None
    hang: Mapping[str, Any] | None
    hang_seconds: float

    @property
    def must_stay_away(self) -> bool:
        """Whether a stop request stands."""
        return self.stop_request is not None and self.stop_request.is_standing


@dataclass(frozen=True)
class Verdict:
    """The next step, why, and about which driver; `is_planned` tells a wanted end from an incident.

    Of an incident, `since` is when the trouble was first known, `kind` the class of the error behind it.
    """

    step: Step
    reason: str
    driver_id: str | None = None
    is_planned: bool = False
    since: datetime | None = None
    kind: str | None = None


def decide(seen: Observation) -> Verdict:
    """What to do now."""
    submission = seen.submission
    if submission is None or submission.ended_at is not None:
        return _without_driver(seen, submission)
    if submission.driver_id is None or seen.status is None:
        return _unanswered_submission(seen, submission)
    if seen.status.is_active:
        return _active_driver(seen, submission, seen.status)
    if seen.status.state == NOT_FOUND and _is_alive(seen, submission):
        reason = f"driver {submission.driver_id} is unknown to the master, yet gave a sign of life just now"
        return Verdict(Step.WAIT, reason, submission.driver_id)
    return _ended_driver(seen, submission, seen.status)


def _without_driver(seen: Observation, last: Submission | None) -> Verdict:
    if seen.must_stay_away:
        return _stay_away(seen)
    if last is None:
        return Verdict(Step.SUBMIT, "no driver runs")
    since_end = age_seconds(last.ended_at, seen.now) or 0.0
    if seen.status is not None and seen.status.is_active and since_end < END_SECONDS:
        reason = f"driver {last.driver_id} was ended and still is {seen.status.state}"
        return Verdict(Step.HOLD, reason, last.driver_id)
    if last.failures:
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (last.failures - 1), LONGEST_PAUSE_SECONDS)
        if since_end < pause:
            return Verdict(Step.HOLD, f"{last.failures} drivers in a row ended soon: a pause of {pause} s")
    return Verdict(Step.SUBMIT, "no driver runs")


def _stay_away(seen: Observation) -> Verdict:
    request = seen.stop_request
    assert request is not None, "asked only while one stands"  # noqa: S101
    return Verdict(
        Step.HOLD,
        forgotten_stop_request(request, seen.now)
        or f"a stop request of {request.owner!r} ({request.at}) stands: whoever wrote it takes it back",
    )


def _unanswered_submission(seen: Observation, submission: Submission) -> Verdict:
    age = age_seconds(submission.requested_at, seen.now)
    if age is not None and age < START_SECONDS:
        return Verdict(
            Step.WAIT, f"submission {submission.token} was not answered; waiting for its heartbeat"
        )
    if seen.must_stay_away:
        return _stay_away(seen)
    return Verdict(Step.SUBMIT, f"submission {submission.token} started no driver within {START_SECONDS} s")


def _active_driver(seen: Observation, submission: Submission, status: DriverStatus) -> Verdict:
    standstill = _standstill(seen, submission) if status.state == "RUNNING" else None
    if standstill is not None:
        reason, since = f"driver {status.driver_id} runs, but {standstill}", _last_sign(seen, submission)
        return Verdict(Step.END, reason, status.driver_id, since=since)
    if seen.hang is not None and submission.has_to_report(seen.hang.get("at")):
        reason = f"driver {status.driver_id} ended itself and was started again: {seen.hang.get('error')}"
        return Verdict(Step.REPORT, reason, status.driver_id, since=parse_utc(seen.hang.get("at")))
    asked = "; it is asked to stop" if _is_asked_to_stop(seen, submission) else ""
    return Verdict(Step.WAIT, f"driver {status.driver_id} is {status.state}{asked}", status.driver_id)


def _standstill(seen: Observation, submission: Submission) -> str | None:
    """Why a driver that runs does no work; None when it does, as far as one can see."""
    heartbeat = _own_heartbeat(seen, submission)
    if heartbeat is None:
        age = age_seconds(submission.requested_at, seen.now)
        is_old = age is None or age > FIRST_HEARTBEAT_SECONDS
        return f"gave no heartbeat for {FIRST_HEARTBEAT_SECONDS} s" if is_old else None
    age = age_seconds(heartbeat.get("at"), seen.now)
    if age is None or age > SILENT_SECONDS:
        return f"gave no heartbeat for {SILENT_SECONDS} s"
    idle = heartbeat.get("idle_seconds")
    if isinstance(idle, int | float) and idle > seen.hang_seconds + HANG_GRACE_SECONDS:
        return (
            f"has not got on for {idle:.0f} s (batch {heartbeat.get('batch_id')}, last Spark task finished "
            f"at {heartbeat.get('last_task_at')})"
        )
    return None


def _ended_driver(seen: Observation, submission: Submission, status: DriverStatus) -> Verdict:
    failure = _failure_of(seen, submission)
    is_asked = seen.must_stay_away or (_is_asked_to_stop(seen, submission) and failure is None)
    if status.state == "FINISHED" and (is_asked or _said_stopped(seen, submission)):
        return Verdict(Step.END, f"driver {status.driver_id} stopped as requested", status.driver_id, True)
    if failure is not None:
        what = "cannot start" if failure.batch_id is None else f"gave up at batch {failure.batch_id}"
        reason = f"driver {status.driver_id} {what}: {mailable_error(failure.error)}"
        since = failure.at or _last_sign(seen, submission)
        return Verdict(Step.END, reason, status.driver_id, since=since, kind=failure.kind)
    reason = f"driver {status.driver_id} ended as {status.state}"
    return Verdict(Step.END, reason, status.driver_id, since=_last_sign(seen, submission))


def _last_sign(seen: Observation, submission: Submission) -> datetime | None:
    """Until when the driver is known to have got on: its heartbeat, less the time it has stood still."""
    heartbeat = _own_heartbeat(seen, submission)
    if heartbeat is None:
        return parse_utc(submission.requested_at)
    at, idle = parse_utc(heartbeat.get("at")), heartbeat.get("idle_seconds")
    if at is not None and isinstance(idle, int | float):
        return at - timedelta(seconds=idle)
    return at


def _failure_of(seen: Observation, submission: Submission) -> StreamFailure | None:
    """The failure that a driver of this submission left, unless a later one of it has worked since."""
    failure = seen.failure
    if failure is None or failure.is_survived:
        return None
    requested_at = parse_utc(submission.requested_at)
    is_older = failure.at is not None and requested_at is not None and failure.at < requested_at
    return None if is_older else failure


def _is_asked_to_stop(seen: Observation, submission: Submission) -> bool:
    """Whether a stop request was made since the driver was submitted, be it released by now."""
    request = seen.stop_request
    return request is not None and (request.is_standing or request.id != submission.after_stop)


def _said_stopped(seen: Observation, submission: Submission) -> bool:
    """Whether the driver's last heartbeat says so."""
    return (_own_heartbeat(seen, submission) or {}).get("state") == STOPPED


def mailable_error(error: str) -> str:
    """What a mail may say of it: a library's message may quote a record, its class does not."""
    kind = error.partition(":")[0]
    return f"{kind} (more in failure.json)" if kind.endswith(("Error", "Exception")) else error


def _own_heartbeat(seen: Observation, submission: Submission) -> Mapping[str, Any] | None:
    """The last heartbeat, if a driver of this submission gave it."""
    heartbeat = seen.heartbeat
    return heartbeat if heartbeat and heartbeat.get("submission") == submission.token else None


def _is_alive(seen: Observation, submission: Submission) -> bool:
    return is_sign_of_life(_own_heartbeat(seen, submission), seen.now)
