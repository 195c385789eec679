"""What a streaming driver has to obey: whether it is the one to run, and whether it was asked to stop."""

from __future__ import annotations

from medallion_store.control_files import ControlFiles
from medallion_store.lake_paths import LakePaths
from medallion_store.stop_request import StopRequests
from medallion_store.stream_driver import submission_of


class DriverOrders:
    """The orders to the driver of one submission."""

    def __init__(self, files: ControlFiles, paths: LakePaths, token: str | None) -> None:
        """Read nothing yet.

        Args:
            files: of the lake.
            paths: of the dataset.
            token: of the driver's submission; None when a person started it.
        """
        self._files = files
        self._paths = paths
        self._token = token
        self._stops = StopRequests(files, paths)
        self._known_stop: str | None = None

    def refusal(self) -> str | None:
        """Why this driver must not start; None when it is the one that was submitted last, and wanted.

        A driver that is started again by its supervisor asks again: it may have been replaced meanwhile.
        """
        submission = submission_of(self._files.load(self._paths.stream_driver).content)
        if submission is not None and not submission.is_of(self._token):
            return f"{self._paths.stream_driver} names another submission"
        if submission is not None and self._token is not None:
            self._known_stop = submission.after_stop
        else:
            request = self._stops.current()
            self._known_stop = None if request is None else request.id
        if self.is_asked_to_stop():
            return f"{self._paths.stop_request} asks this driver to stop"
        return None

    def is_asked_to_stop(self) -> bool:
        """Whether a stop request stands, or one was made since this driver was submitted."""
        request = self._stops.current()
        return request is not None and (request.is_standing or request.id != self._known_stop)
