"""Which process is meant: a pid alone may be another process's by now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PARENT, SESSION, THREADS, STARTED = 1, 3, 17, 19
"""Fields of /proc/PID/stat, counted from the state: parent, session, number of threads, start time."""


@dataclass(frozen=True)
class ProcessId:
    """One process of this boot of this machine."""

    pid: int
    started: str
    """Boot id and start time in clock ticks since boot."""

    @staticmethod
    def of(pid: int) -> ProcessId | None:
        """The running process with that pid; None when there is none, or only a zombie.

        A killed JVM's first thread is a zombie before the others are gone, and those still hold its ports.
        """
        fields = stat_of(pid)
        if not fields or (fields[0] in "ZX" and int(fields[THREADS]) <= 1):
            return None
        return ProcessId(pid, f"{boot_id()}:{fields[STARTED]}")

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return ProcessId.of(self.pid) == self


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (state, parent, ...); empty without such a process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The command name before them may hold spaces and brackets: count from its closing bracket.
    return stat.rpartition(")")[2].split()


def boot_id() -> str:
    """Another after each boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
