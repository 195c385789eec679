"""Which driver runs the stream, and what to do about it: found after any restart, never started twice.

What is known is kept in the lake, beside the stream's own files, so that it survives Airflow, its database
and the cluster's master: `stream_driver.json` (written here), `stop_request.json`, the heartbeat and
`failure.json`.

Starting a driver has three steps, and a crash may come after each:
  1. the file gets the submission's token, without a driver id;
  2. the master is asked to start the driver, which repeats the token in its heartbeat;
  3. the file gets the driver id.
After 1 or 2 the file names a submission whose driver no one wrote down: its heartbeat tells the driver's id.
If none comes within START_SECONDS there was no driver, or it is queued: another is submitted. Should the
first start later, it finds another token in the file and ends itself.

Each write of the file depends on what was read (see `control_files`): of two processes that find no driver
(a task that Airflow took for dead, and its successor) only one submits.

The driver that gives the heartbeat is the one to follow, whoever submitted it: the file is brought in line
with it, as long as the master says that it runs. When a worker is lost, Spark starts the driver again under
another id and calls the old one RELAUNCHING for good: again the heartbeat says which.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from medallion_contracts.errors import ServiceUnavailable, SubmissionUnknown
from medallion_ops.settings import Settings
from medallion_ops.spark.jobs import SparkJob, stream_job
from medallion_ops.spark.submission import ClusterClient, DriverStatus
from medallion_ops.streaming.decision import SHORT_LIFE_SECONDS, Observation, Verdict, decide
from medallion_store.control_files import ControlFiles, control_files, store_if_unchanged
from medallion_store.heartbeat import LAST_STATES, STARTING, is_sign_of_life
from medallion_store.lake_paths import LakePaths
from medallion_store.stop_request import StopRequest, StopRequests
from medallion_store.stream_driver import Submission, submission_of
from medallion_store.stream_failure import failure_of
from medallion_store.utc_time import age_seconds, utc_text


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
        self._files: ControlFiles = control_files(settings.lake.login)
        self._stops = StopRequests(self._files, self._paths)
        self._cluster: Cluster = cluster or ClusterClient(settings.spark)
        self._observed: tuple[Submission | None, str | None] | None = None

    def observe(self) -> Verdict:
        """Look at the lake and the cluster, and decide.

        Raises:
            ServiceUnavailable: The master or the lake does not answer.
        """
        heartbeat = self._files.read(self._paths.heartbeat)
        stop_request = self._stops.current()
        submission = self._followed(*self._load(), heartbeat, stop_request)
        if submission is not None and submission.recovers and _is_streaming(submission, heartbeat):
            self._files.delete(self._paths.recover_request)
        status = None
        if submission is not None and submission.driver_id:
            status = self._cluster.status(submission.driver_id)
            if submission.ended_at is not None and status.is_active:
                self._cluster.kill(submission.driver_id)  # the master may have forgotten the first time
        return decide(
            Observation(
                now=datetime.now(UTC),
                submission=submission,
                status=status,
                heartbeat=heartbeat,
                failure=failure_of(self._files.read(self._paths.failure)),
                stop_request=stop_request,
                hang=self._files.read(self._paths.hang),
                hang_seconds=60 * self._settings.stream.batch_hang_minutes,
            )
        )

    def submit(self) -> str | None:
        """Start a driver; gives its id. See the module's text for what a crash leaves behind.

        Returns:
            None when another process has submitted one since `observe`.

        Raises:
            ServiceUnavailable: No driver was started.
            SubmissionUnknown: One may have been: `observe` finds it by its heartbeat.
        """
        last, tag = self._observed or self._load()
        stop_request = self._stops.current()
        submission = Submission(
            token=uuid.uuid4().hex,
            requested_at=utc_text(),
            failures=last.failures if last else 0,
            recovers=self._files.read(self._paths.recover_request) is not None,
            after_stop=stop_request.id if stop_request else None,
            previous_driver_id=(last.driver_id or last.previous_driver_id) if last else None,
        )
        tag = self._write(submission, tag)
        if tag is None:
            return None
        job = stream_job(
            self._settings, self._dataset, submission=submission.token, recover=submission.recovers
        )
        try:
            driver_id = self._cluster.submit(job)
        except SubmissionUnknown:
            raise
        except ServiceUnavailable:
            # Surely no driver: no reason to wait for its heartbeat.
            self._write(replace(submission, ended_at=utc_text()), tag)
            raise
        # If the file is another one by now, its heartbeat was seen first, and it is written down already.
        self._write(replace(submission, driver_id=driver_id), tag)
        return driver_id

    def close(self, verdict: Verdict) -> None:
        """Write down that the driver's end was seen; one that runs without working is stopped."""
        submission, tag = self._load()
        if submission is None or submission.ended_at is not None:
            return
        if verdict.driver_id is not None and not verdict.is_planned:
            self._cluster.kill(verdict.driver_id)
        failures = 0
        if not verdict.is_planned:
            lived = age_seconds(submission.requested_at) or 0.0
            failures = submission.failures + 1 if lived < SHORT_LIFE_SECONDS else 1
        # If the file is another one by now, another process has closed it.
        self._write(replace(submission, ended_at=utc_text(), failures=failures), tag)

    def note_reported(self) -> None:
        """Write down that the last hang of a batch was reported."""
        submission, tag = self._load()
        hang = self._files.read(self._paths.hang)
        if submission is not None and hang is not None:
            self._write(replace(submission, reported_hang=str(hang.get("at"))), tag)

    def _followed(
        self,
        submission: Submission | None,
        tag: str | None,
        heartbeat: Mapping[str, Any] | None,
        stop_request: StopRequest | None,
    ) -> Submission | None:
        """The submission whose driver is to be followed: that of the heartbeat, where it is another one."""
        driver_id = _living_driver(heartbeat)
        if driver_id is None or heartbeat is None:
            return submission
        token = str(heartbeat.get("submission"))
        if submission is None:
            known_stop = stop_request.id if stop_request and not stop_request.is_standing else None
            submission = Submission(token, str(heartbeat["at"]), after_stop=known_stop)
        elif submission.driver_id == driver_id:
            return submission
        if not self._cluster.status(driver_id).is_active:
            return submission  # the last sign of life of a driver that has ended
        if submission.driver_id is not None and submission.ended_at is None and submission.token != token:
            self._cluster.kill(submission.driver_id)  # it would wait for the lease for ever
        followed = replace(
            submission,
            token=token,
            driver_id=driver_id,
            ended_at=None,
            previous_driver_id=submission.driver_id or submission.previous_driver_id,
        )
        self._write(followed, tag)
        return followed

    def _load(self) -> tuple[Submission | None, str | None]:
        stored = self._files.load(self._paths.stream_driver)
        self._observed = submission_of(stored.content), stored.tag
        return self._observed

    def _write(self, submission: Submission, tag: str | None) -> str | None:
        """Write it if the file still is the one with this tag; gives the new tag, None if it is not."""
        written = store_if_unchanged(self._files, self._paths.stream_driver, asdict(submission), tag)
        self._observed = None
        return written


def _living_driver(heartbeat: Mapping[str, Any] | None) -> str | None:
    """The cluster's id of the driver that gave this heartbeat, if it is a sign of life."""
    if heartbeat is None or not is_sign_of_life(heartbeat):
        return None
    driver_id = heartbeat.get("driver_id")
    return driver_id if isinstance(driver_id, str) else None


def _is_streaming(submission: Submission, heartbeat: Mapping[str, Any] | None) -> bool:
    """Whether a driver of this submission is past its start, and with it past any recovery."""
    if heartbeat is None or heartbeat.get("submission") != submission.token:
        return False
    return heartbeat.get("state") not in (STARTING, *LAST_STATES)
