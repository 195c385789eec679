"""Delta commits that are tried again when another writer was faster."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from delta.exceptions import DeltaConcurrentModificationException
from deltalake.exceptions import CommitFailedError

CONFLICTS = (DeltaConcurrentModificationException, CommitFailedError)
"""What Spark's Delta and delta-rs raise then."""

ATTEMPTS = 5

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


def retried(work: Callable[[], _Result], what: str) -> tuple[_Result, int]:
    """The result of `work`, and the attempts it took.

    Raises:
        DeltaConcurrentModificationException, CommitFailedError: another writer was faster ATTEMPTS times in
            a row.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return work(), attempt
        except CONFLICTS as conflict:
            _log.info(
                "%s: another writer was faster (%s), attempt %d", what, type(conflict).__name__, attempt
            )
            time.sleep(2**attempt)
    return work(), ATTEMPTS
