"""Which driver runs the stream, and what to do about it: found after any restart, never started twice.

What is known is kept in the lake, beside the stream's own files, so that it survives Airflow, its database
and the cluster's master: `stream_driver.json` (written here), `stop_request.json`, the heartbeat and
`failure.json`.

Starting a driver has three steps, and a crash may come after each:
  1. the file gets the submission's token, without a driver id;
  2. the master is asked to start the driver, which repeats the token in its heartbeat;
  3. the file gets the driver id.
After 1 or 2 the file names a submission whose driver nobody wrote down: its heartbeat tells the driver's id.
If none comes within START_SECONDS there was no driver, or it is queued: another is submitted. Should the
first start later, the lease on silver lets only one of them write.

So the driver that gives the heartbeat is the one to follow, whoever submitted it: the file is brought in line
with it, as long as the master says that it runs. When a worker is lost, Spark starts the driver again under
another id and calls the old one RELAUNCHING for good: again the heartbeat tells.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from medallion_contracts.errors import ServiceUnavailable, SubmissionUnknown
from medallion_ops.lake_files import LakeFiles, age_seconds, lake_files
from medallion_ops.settings import Settings
from medallion_ops.spark.jobs import SparkJob, stream_job
from medallion_ops.spark.submission import NOT_FOUND, ClusterClient, DriverStatus
from medallion_store.lake_paths import LakePaths

START_SECONDS = 120
"""How long a submitted driver may take to its first heartbeat before nobody waits for it."""
SILENT_SECONDS = 600
"""A driver that the master calls RUNNING and that gave no heartbeat for so long does no work."""
STALE_SECONDS = 60
"""How long a heartbeat (one every 15 s) is a sign of life."""
SHORT_LIFE_SECONDS = 600
"""A driver that ended sooner counts as one more failure in a row."""
STOPPED = "stopped"
LAST_STATES = (STOPPED, "ended")
"""What a driver's last heartbeat says: stopped when it was asked to."""
FIRST_PAUSE_SECONDS = 15
LONGEST_PAUSE_SECONDS = 900


class Step(StrEnum):
    """What has to be done about the driver: WAIT for one there is, HOLD back from starting one."""

    SUBMIT = "submit"
    WAIT = "wait"
    HOLD = "hold"
    END = "end"


@dataclass(frozen=True)
class Submission:
    """The content of `stream_driver.json`. Times are ISO 8601, UTC.

    `ended_at` is set when the end was reported; `failures` counts ends in a row that came soon; `recovers`
    tells that the driver was asked to go on from the ledger.
    """

    token: str
    requested_at: str
    driver_id: str | None = None
    ended_at: str | None = None
    failures: int = 0
    recovers: bool = False


@dataclass(frozen=True)
class Observation:
    """Everything the decision depends on."""

    now: datetime
    submission: Submission | None
    status: DriverStatus | None
    heartbeat: Mapping[str, Any] | None
    failure: Mapping[str, Any] | None
    is_stop_requested: bool


@dataclass(frozen=True)
class Verdict:
    """The next step, why, and about which driver; `is_planned` tells a wanted end from an incident."""

    step: Step
    reason: str
    driver_id: str | None = None
    is_planned: bool = False


def decide(seen: Observation) -> Verdict:
    """What to do now."""
    submission = seen.submission
    if submission is None or submission.ended_at is not None:
        return _without_driver(seen)
    if submission.driver_id is None or seen.status is None:
        return _unanswered_submission(seen, submission)
    if seen.status.is_active:
        return _active_driver(seen, submission, seen.status)
    if seen.status.state == NOT_FOUND and _beats_within(seen, STALE_SECONDS):
        reason = f"driver {submission.driver_id} is unknown to the master, yet gave a sign of life just now"
        return Verdict(Step.WAIT, reason, submission.driver_id)
    return _ended_driver(seen, submission, seen.status)


def _without_driver(seen: Observation) -> Verdict:
    if seen.is_stop_requested:
        return Verdict(Step.HOLD, "a stop request is in the lake: whoever wrote it removes it")
    last = seen.submission
    if last is not None and last.failures:
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (last.failures - 1), LONGEST_PAUSE_SECONDS)
        left = pause - (age_seconds(last.ended_at, seen.now) or 0.0)
        if left > 0:
            return Verdict(Step.HOLD, f"{last.failures} drivers in a row ended soon: a pause of {pause} s")
    return Verdict(Step.SUBMIT, "no driver runs")


def _unanswered_submission(seen: Observation, submission: Submission) -> Verdict:
    age = age_seconds(submission.requested_at, seen.now)
    if age is not None and age < START_SECONDS:
        return Verdict(
            Step.WAIT, f"submission {submission.token} was not answered; waiting for its heartbeat"
        )
    if seen.is_stop_requested:
        return Verdict(Step.HOLD, "a stop request is in the lake: whoever wrote it removes it")
    return Verdict(Step.SUBMIT, f"submission {submission.token} started no driver within {START_SECONDS} s")


def _active_driver(seen: Observation, submission: Submission, status: DriverStatus) -> Verdict:
    since_request = age_seconds(submission.requested_at, seen.now)
    is_old = since_request is None or since_request > SILENT_SECONDS
    if status.state == "RUNNING" and is_old and not _beats_within(seen, SILENT_SECONDS):
        reason = f"driver {status.driver_id} runs, but gave no heartbeat for {SILENT_SECONDS} s"
        return Verdict(Step.END, reason, status.driver_id)
    return Verdict(Step.WAIT, f"driver {status.driver_id} is {status.state}", status.driver_id)


def _ended_driver(seen: Observation, submission: Submission, status: DriverStatus) -> Verdict:
    if status.state == "FINISHED" and (seen.is_stop_requested or _said_stopped(seen, submission)):
        return Verdict(Step.END, f"driver {status.driver_id} stopped as requested", status.driver_id, True)
    failure = seen.failure
    if failure is not None and not _is_older(failure.get("at"), submission.requested_at):
        batch, error = failure.get("batch_id"), _mailable(str(failure.get("error")))
        what = "cannot start" if batch is None else f"gave up at batch {batch}"
        reason = f"driver {status.driver_id} {what}: {error}"
        return Verdict(Step.END, reason, status.driver_id)
    return Verdict(Step.END, f"driver {status.driver_id} ended as {status.state}", status.driver_id)


def _said_stopped(seen: Observation, submission: Submission) -> bool:
    """Whether the driver's last heartbeat says so: the request may be gone by now."""
    last = seen.heartbeat or {}
    return last.get("submission") == submission.token and last.get("state") == STOPPED


def _mailable(error: str) -> str:
    """What a mail may say of it: a library's message may quote a record, its class does not."""
    kind = error.partition(":")[0]
    return f"{kind} (more in failure.json)" if kind.endswith(("Error", "Exception")) else error


def _beats_within(seen: Observation, seconds: float) -> bool:
    """Whether a driver of this submission gave a heartbeat within the last `seconds`."""
    if seen.heartbeat is None or seen.submission is None:
        return False
    if (
        seen.heartbeat.get("submission") != seen.submission.token
        or seen.heartbeat.get("state") in LAST_STATES
    ):
        return False
    age = age_seconds(seen.heartbeat.get("at"), seen.now)
    return age is not None and age <= seconds


def _is_older(moment: object, than: str) -> bool:
    reference = datetime.fromisoformat(than)
    age = age_seconds(moment, reference)
    return age is not None and age > 0


class Cluster(Protocol):
    """What is asked of the master; see `ClusterClient`."""

    def submit(self, job: SparkJob) -> str:
        """Start a supervised driver; gives its id."""

    def status(self, driver_id: str) -> DriverStatus:
        """A driver's state."""

    def kill(self, driver_id: str) -> None:
        """Stop a driver for good."""


class StreamDriver:
    """The streaming driver of one dataset, as the lake and the cluster know it."""

    def __init__(self, settings: Settings, dataset: str, cluster: Cluster | None = None) -> None:
        self._settings = settings
        self._dataset = dataset
        self._paths = LakePaths(settings.lake.uri, dataset)
        self._files: LakeFiles = lake_files(settings.lake)
        self._cluster: Cluster = cluster or ClusterClient(settings.spark)

    def observe(self) -> Verdict:
        """Look at the lake and the cluster, and decide.

        Raises:
            ServiceUnavailable: The master or the lake does not answer.
        """
        heartbeat = self._files.read(self._paths.heartbeat)
        submission = self._followed(self._submission(), heartbeat)
        if submission is not None and submission.recovers and _is_streaming(submission, heartbeat):
            self._files.delete(self._paths.recover_request)
        status = None
        if submission is not None and submission.driver_id and submission.ended_at is None:
            status = self._cluster.status(submission.driver_id)
        return decide(
            Observation(
                now=datetime.now(UTC),
                submission=submission,
                status=status,
                heartbeat=heartbeat,
                failure=self._files.read(self._paths.failure),
                is_stop_requested=self._files.read(self._paths.stop_request) is not None,
            )
        )

    def submit(self) -> str:
        """Start a driver; gives its id. See the module's text for what a crash leaves behind.

        Raises:
            ServiceUnavailable: No driver was started.
            SubmissionUnknown: One may have been: `observe` finds it by its heartbeat.
        """
        last = self._submission()
        failures = last.failures if last else 0
        recovers = self._files.read(self._paths.recover_request) is not None
        submission = Submission(uuid.uuid4().hex, _now(), failures=failures, recovers=recovers)
        self._write(submission)
        job = stream_job(self._settings, self._dataset, submission=submission.token, recover=recovers)
        try:
            driver_id = self._cluster.submit(job)
        except SubmissionUnknown:
            raise
        except ServiceUnavailable:
            # Surely no driver: no reason to wait for its heartbeat.
            self._write(replace(submission, ended_at=_now()))
            raise
        self._write(replace(submission, driver_id=driver_id))
        return driver_id

    def close(self, verdict: Verdict) -> None:
        """Write down that the driver's end was seen; one that runs without a heartbeat is stopped."""
        submission = self._submission()
        if submission is None or submission.ended_at is not None:
            return
        if verdict.driver_id is not None and not verdict.is_planned:
            self._cluster.kill(verdict.driver_id)
        failures = 0
        if not verdict.is_planned:
            lived = age_seconds(submission.requested_at, datetime.now(UTC)) or 0.0
            failures = submission.failures + 1 if lived < SHORT_LIFE_SECONDS else 1
        self._write(replace(submission, ended_at=_now(), failures=failures))

    def _followed(
        self, submission: Submission | None, heartbeat: Mapping[str, Any] | None
    ) -> Submission | None:
        """The submission whose driver is to be followed: that of the heartbeat, where it is another one."""
        driver_id = _living_driver(heartbeat)
        if driver_id is None or heartbeat is None:
            return submission
        token = str(heartbeat.get("submission"))
        if submission is None:
            submission = Submission(token, str(heartbeat["at"]))
        elif submission.driver_id == driver_id:
            return submission
        if not self._cluster.status(driver_id).is_active:
            return submission  # the last sign of life of a driver that has ended
        if submission.driver_id is not None and submission.ended_at is None and submission.token != token:
            self._cluster.kill(submission.driver_id)  # it would wait for the lease for ever
        followed = replace(submission, token=token, driver_id=driver_id, ended_at=None)
        self._write(followed)
        return followed

    def _submission(self) -> Submission | None:
        content = self._files.read(self._paths.stream_driver)
        # A worker and a triggerer of different releases share the file while one is rolled out.
        known = {field.name for field in fields(Submission)}
        return None if content is None else Submission(**{k: v for k, v in content.items() if k in known})

    def _write(self, submission: Submission) -> None:
        self._files.write(self._paths.stream_driver, asdict(submission))


def _living_driver(heartbeat: Mapping[str, Any] | None) -> str | None:
    """The cluster's id of the driver that gave this heartbeat, if it is a sign of life."""
    if heartbeat is None or heartbeat.get("state") in LAST_STATES:
        return None
    age = age_seconds(heartbeat.get("at"), datetime.now(UTC))
    driver_id = heartbeat.get("driver_id")
    return driver_id if isinstance(driver_id, str) and age is not None and age <= STALE_SECONDS else None


def _is_streaming(submission: Submission, heartbeat: Mapping[str, Any] | None) -> bool:
    """Whether a driver of this submission is past its start, and with it past any recovery."""
    if heartbeat is None or heartbeat.get("submission") != submission.token:
        return False
    return heartbeat.get("state") not in ("starting", *LAST_STATES)


def _now() -> str:
    return datetime.now(UTC).isoformat()
