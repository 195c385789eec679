"""What the processes of a test hold in memory while it works."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Peak:
    """The most that all matching processes together held, in MiB (PSS: shared pages count by their share)."""

    mebibytes: float = 0.0


@contextmanager
def peak_of(word: str, below: str) -> Iterator[Peak]:
    """Watch the processes whose command line has `word`, and whose environment has `below`.

    Args:
        word: of the command line, e.g. `pyspark.daemon`.
        below: of the environment: what tells the test's own processes from all others.
    """
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.3):
            peak.mebibytes = max(peak.mebibytes, sum(_pss(pid) for pid in _matching(word, below)))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join(timeout=10)


def _matching(word: str, below: str) -> Iterator[Path]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                is_one = word.encode() in (process / "cmdline").read_bytes()
                if is_one and below.encode() in (process / "environ").read_bytes():
                    yield process


def _pss(process: Path) -> float:
    with suppress(OSError):
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
