"""Records that keep coming while things are killed."""

from __future__ import annotations

import itertools
import threading
from contextlib import suppress
from types import TracebackType

from fault.records import mixed_records, send
from kafka.errors import KafkaError


class Trickle:
    """A thread that sends a few records at a time; a broker that is away is tried again."""

    def __init__(self, bootstrap: str, each: int = 40, pause_seconds: float = 0.5) -> None:
        self._bootstrap = bootstrap
        self._each = each
        self._pause = pause_seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Trickle:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=90)

    def _run(self) -> None:
        for seed in itertools.count(1):
            # What was not acknowledged may be there or not: the topic itself tells.
            with suppress(KafkaError, OSError):
                send(self._bootstrap, mixed_records(self._each, seed))
            if self._end.wait(self._pause):
                return
