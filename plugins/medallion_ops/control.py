"""Requests to the stream: how an operator, a person or a DAG, asks it to make way.

`python -m medallion_ops.control stop|start|recover|accept-log|show DATASET` does it by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from medallion_contracts.errors import LeaseError, MedallionError, ParameterError
from medallion_contracts.loader import dataset_names
from medallion_ops.lake_settings import LakeSettings
from medallion_store.control_files import control_files
from medallion_store.heartbeat import is_sign_of_life
from medallion_store.lake_paths import LakePaths
from medallion_store.lease import lease_holder
from medallion_store.stop_request import StopRequests, forgotten_stop_request
from medallion_store.stream_driver import submission_of
from medallion_store.stream_failure import end_failure
from medallion_store.utc_time import utc_text


class StreamControl:
    """The control files of one dataset's stream."""

    def __init__(self, lake: LakeSettings, dataset: str) -> None:
        self._files = control_files(lake.login)
        self._paths = LakePaths(lake.uri, dataset)
        self._stops = StopRequests(self._files, self._paths)

    def request_stop(self, owner: str) -> None:
        """Ask the stream to end after its micro-batch, and to stay away until `release`.

        Raises:
            LeaseError: Another's request stands. The same owner's is fine: a retry asks again.
        """
        self._stops.request(owner)

    def request_recovery(self) -> None:
        """Let the next driver go on from the ledger, should the checkpoint be gone."""
        failure = self._files.load(self._paths.failure)
        self._files.write(self._paths.recover_request, {"at": utc_text()})
        end_failure(self._files, self._paths.failure, failure, "recover")

    def accept_log(self) -> list[str]:
        """Let the next driver read the logs that the stream found in place of those it had read.

        Returns:
            each topic, and how it showed that its log is another one.

        Raises:
            ParameterError: the stream has not found another log.
        """
        found = self._files.read(self._paths.other_log)
        if found is None:
            raise ParameterError(
                "there is no other log to accept",
                [f"{self._paths.other_log} is not there: the stream writes it when it finds another log"],
            )
        failure = self._files.load(self._paths.failure)
        request = {"at": utc_text(), "logs": found["logs"]}
        self._files.write(self._paths.accept_log_request, request)
        end_failure(self._files, self._paths.failure, failure, "accept-log")
        return [f"{log['topic']} ({log['problem']})" for log in found["logs"]]

    def release(self, owner: str | None) -> bool:
        """Take back the stop request of this owner (None: anyone's); gives whether there was one."""
        return self._stops.release(owner)

    def start(self) -> bool:
        """A person lets the stream go on: take back any stop request; gives whether there was one."""
        failure = self._files.load(self._paths.failure)
        was_stopped = self.release(None)
        end_failure(self._files, self._paths.failure, failure, "start")
        return was_stopped

    def lease_holder(self) -> str | None:
        """Who may write silver now; None when it is free."""
        return lease_holder(self._files.read(self._paths.lease))

    def wait_until_free(self, timeout_seconds: float, poll_seconds: float = 2.0) -> float:
        """Wait until nobody holds silver's lease; gives the seconds it took.

        Raises:
            LeaseError: Somebody still does after `timeout_seconds`.
        """
        start = time.monotonic()
        while (holder := self.lease_holder()) is not None:
            if time.monotonic() - start > timeout_seconds:
                raise LeaseError(
                    f"{holder} still holds {self._paths.lease} after {timeout_seconds:.0f} s: see what it "
                    "does (a large micro-batch takes minutes), then try again"
                )
            time.sleep(poll_seconds)
        return time.monotonic() - start

    def show(self) -> Mapping[str, Any]:
        """What holds now, and all control files by name; None for those that are not there."""
        submission = submission_of(self._files.read(self._paths.stream_driver))
        heartbeat = self._files.read(self._paths.heartbeat)
        return {
            "drivers": {
                "submitted_last": submission.driver_id if submission else None,
                "before_it": submission.previous_driver_id if submission else None,
                "heartbeat_of": heartbeat.get("driver_id") if heartbeat else None,
                "heartbeat_is_fresh": is_sign_of_life(heartbeat),
            },
            "may_write_silver": self.lease_holder(),
            "forgotten": forgotten_stop_request(self._stops.current()),
            "stop_request": self._files.read(self._paths.stop_request),
            "recover_request": self._files.read(self._paths.recover_request),
            "other_log": self._files.read(self._paths.other_log),
            "accept_log_request": self._files.read(self._paths.accept_log_request),
            "lease": self._files.read(self._paths.lease),
            "stream_driver": self._files.read(self._paths.stream_driver),
            "heartbeat": heartbeat,
            "hang": self._files.read(self._paths.hang),
            "failure": self._files.read(self._paths.failure),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 with a message when it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.control",
        description="Stops, starts or recovers a dataset's stream by request files in the lake "
        "(MEDALLION_LAKE_URI).",
    )
    parser.add_argument(
        "command",
        choices=("stop", "start", "recover", "accept-log", "show"),
        help="stop: the driver ends after its micro-batch, and none is submitted; start: another one is; "
        "recover: the next driver goes on from the ledger, when its checkpoint is lost or does not fit; "
        "accept-log: the next driver reads the other log that the stream found behind a topic, from its "
        "beginning; show: the drivers there are, and all files",
    )
    parser.add_argument("dataset", choices=dataset_names())
    given = parser.parse_args(arguments)
    try:
        print(_run(StreamControl(LakeSettings.from_environment(), given.dataset), given.command))  # noqa: T201
    except MedallionError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _run(control: StreamControl, command: str) -> str:
    if command == "stop":
        control.request_stop("a person")
        return "stop requested: the driver ends after its micro-batch"
    if command == "recover":
        control.request_recovery()
        return (
            "recovery requested: the next driver goes on from the ledger if its checkpoint is gone or unfit"
        )
    if command == "accept-log":
        return f"accepted: {'; '.join(control.accept_log())}. The next driver reads it from its beginning"
    if command == "start":
        if control.start():
            return "stop request taken back: a driver that ran when it was made still ends, another follows"
        return "there was no stop request"
    return json.dumps(control.show(), indent=2)


if __name__ == "__main__":
    sys.exit(main())
