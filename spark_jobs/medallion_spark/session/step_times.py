"""What a job's seconds were spent on, for one line of its log."""

from __future__ import annotations

import os
import time
from pathlib import Path


class StepTimes:
    """A stopwatch that has run since spark-submit was started; each step ends where the next begins."""

    def __init__(self) -> None:
        self._steps: dict[str, float] = {}
        submitted, started = _age(os.getppid()), _age(os.getpid())
        # By hand there is no spark-submit; its JVM starts later then, and counts to the session.
        self._last = time.monotonic() - started
        if started <= submitted < started + 60:
            self._steps["submit"] = submitted - started

    def end(self, step: str) -> None:
        """End a step; one that was ended before goes on."""
        now = time.monotonic()
        self._steps[step] = self._steps.get(step, 0.0) + now - self._last
        self._last = now

    def __str__(self) -> str:
        parts = ", ".join(f"{step} {seconds:.1f}" for step, seconds in self._steps.items())
        return f"{sum(self._steps.values()):.1f} s: {parts}"


def _age(pid: int) -> float:
    """Seconds since a process was started; 0 where the system does not tell."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        uptime = Path("/proc/uptime").read_text().split()[0]
        return float(uptime) - int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
