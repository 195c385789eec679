"""Things that take long and do not need each other, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


def in_parallel(calls: Sequence[Callable[[], None]]) -> None:
    """Make the calls side by side; when all have ended, raise the first problem there was.

    Ctrl-C is not kept waiting for their end: `cli.main` then ends the process with them.
    """
    pool = ThreadPoolExecutor(max(1, len(calls)))
    try:
        problems = [made.exception() for made in [pool.submit(call) for call in calls]]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    for problem in problems:
        if problem:
            raise problem
