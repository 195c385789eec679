"""The stop request: how an operator, a person or a DAG asks a dataset's stream to make way.

A request stands until it is released. It stays in its file then, marked as released: a driver that was
running when it was made still ends, even if the release came before the driver looked (`stop`, then `start`
at once means: end this driver and start another). `Submission.after_stop` of `stream_driver.json` names the
last request that was made before a driver was submitted; any other one is meant for that driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from medallion_contracts.errors import LeaseError, ServiceUnavailable
from medallion_store.control_files import ControlFiles, store_if_unchanged
from medallion_store.lake_paths import LakePaths
from medallion_store.utc_time import age_seconds, utc_text

FORGOTTEN_AFTER = timedelta(hours=3)
"""Longer than any rebuild or repair takes: a request that stands longer was probably forgotten."""
_MOST_TRIES = 5


@dataclass(frozen=True)
class StopRequest:
    """The content of `stop_request.json`; times are ISO 8601, UTC."""

    id: str
    owner: str
    at: str | None
    released_at: str | None = None

    @property
    def is_standing(self) -> bool:
        """Whether the stream must stay away."""
        return self.released_at is None


def stop_request_of(content: Mapping[str, Any] | None) -> StopRequest | None:
    """The request in a file's content; None when there never was one.

    The release before this one wrote no id and removed the file.
    """
    if content is None:
        return None
    owner, at = str(content.get("owner", "unknown")), content.get("at")
    return StopRequest(
        id=str(content.get("id") or f"{owner} at {at}"),
        owner=owner,
        at=at if isinstance(at, str) else None,
        released_at=content.get("released_at"),
    )


def forgotten_stop_request(request: StopRequest | None, now: datetime | None = None) -> str | None:
    """What to report of a request that no one takes back.

    Args:
        request: the last one.
        now: if not this moment.

    Returns:
        None when there is nothing to report.
    """
    if request is None or not request.is_standing:
        return None
    age = age_seconds(request.at, now)
    if age is not None and age < FORGOTTEN_AFTER.total_seconds():
        return None
    since = "an unknown time" if age is None else f"{age / 3600:.0f} hours ({request.at})"
    return (
        f"the stream has been stopped for {since} by {request.owner!r}: run "
        "`python -m medallion_ops.control start` for it when that work is done"
    )


class StopRequests:
    """The stop request of one dataset's stream."""

    def __init__(self, files: ControlFiles, paths: LakePaths) -> None:
        self._files = files
        self._path = paths.stop_request

    def current(self) -> StopRequest | None:
        """The last request, standing or released."""
        return stop_request_of(self._content()[0])

    def is_standing(self) -> bool:
        """Whether the stream must stay away."""
        request = self.current()
        return request is not None and request.is_standing

    def request(self, owner: str) -> StopRequest:
        """Ask the stream to end after its micro-batch, and to stay away until `release`.

        Raises:
            LeaseError: Another's request stands. The same owner's is fine: a retry asks again.
        """
        for _ in range(_MOST_TRIES):
            content, tag = self._content()
            present = stop_request_of(content)
            if present is not None and present.is_standing:
                if present.owner == owner:
                    return present
                raise LeaseError(
                    f"{self._path} was written by {present.owner!r} at {present.at}: "
                    "wait for it, or run `python -m medallion_ops.control start` when that run is gone"
                )
            wanted = StopRequest(uuid4().hex, owner, utc_text())
            if store_if_unchanged(self._files, self._path, asdict(wanted), tag) is not None:
                return wanted
        raise self._contended()

    def release(self, owner: str | None) -> bool:
        """Take back the request of this owner (None: anyone's); gives whether there was one."""
        for _ in range(_MOST_TRIES):
            content, tag = self._content()
            present = stop_request_of(content)
            if present is None or not present.is_standing or owner not in (None, present.owner):
                return False
            released = replace(present, released_at=utc_text())
            if store_if_unchanged(self._files, self._path, asdict(released), tag) is not None:
                return True
        raise self._contended()

    def _content(self) -> tuple[Mapping[str, Any] | None, str | None]:
        stored = self._files.load(self._path)
        # A file that cannot be read keeps the stream away: its writer wanted just that.
        content = {} if stored.content is None and stored.tag is not None else stored.content
        return content, stored.tag

    def _contended(self) -> ServiceUnavailable:
        return ServiceUnavailable(f"{self._path} changes all the time: see who writes it, then try again")
