"""Waiting with an end and with signs of life."""

from __future__ import annotations

import time
from collections.abc import Callable

from medallion_contracts.errors import ServiceUnavailable
from medallion_stack.console import say

_POLL_SECONDS = 1
_PROGRESS_SECONDS = 5


def wait_until(
    is_done: Callable[[], bool], seconds: float, who: str, progress: Callable[[], str] | None = None
) -> None:
    """Wait for something; says how far it is whenever that has changed.

    Raises:
        ServiceUnavailable: it did not happen in time.
    """
    deadline = time.monotonic() + seconds
    next_progress = time.monotonic() + _PROGRESS_SECONDS
    told = ""
    while not is_done():
        if time.monotonic() > deadline:
            raise ServiceUnavailable(f"{who} did not end within {seconds:.0f} s")
        if progress and time.monotonic() > next_progress:
            line = progress()
            if line != told:
                say(line)
                told = line
            next_progress = time.monotonic() + _PROGRESS_SECONDS
        time.sleep(_POLL_SECONDS)
