"""Processes that end together: a task with what watches over it, a command with its task, children with both.

Linux ends a process whose parent has died (PR_SET_PDEATHSIG), whatever killed the parent. So each link of the
chain asks for it: the task's process, the spark-submit or gate that it starts, the driver that spark-submit
starts.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress

_GRACE_SECONDS = 2.0
"""Airflow itself kills a task 5 s after it asked it to end."""
_POLL_SECONDS = 0.05


def ending_with_parent(command: Sequence[str]) -> list[str]:
    """The command, killed when the process that starts it dies."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


def end_with_children(process: subprocess.Popen[str]) -> None:
    """End a process and all that it started: ask, then kill after two seconds."""
    import psutil

    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    family: list[subprocess.Popen[str] | psutil.Process] = [process, *children]
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    # `poll` for the process itself: whoever else collects its exit code makes it look like a success.
    while process.poll() is None or any(child.is_running() for child in children):
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()
