"""A task's processes end together, whichever of them is killed and however."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from medallion_ops.processes import end_with_children, ending_with_parent
from medallion_stack.waiting import wait_until
from medallion_store.process_id import ProcessId

DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
FAMILY = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {DEAF!r}], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def parent_of(code: str) -> tuple[subprocess.Popen[str], ProcessId]:
    """A process that runs the code, and the process whose pid that prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout
    child = ProcessId.of(int(parent.stdout.readline()))
    assert child
    return parent, child


def test_a_stopped_command_ends_with_its_children_also_with_one_that_does_not_listen() -> None:
    parent, child = parent_of(FAMILY)
    end_with_children(parent)
    wait_until(lambda: not child.is_alive, 5, "the child's end")
    assert parent.wait() == -signal.SIGTERM, "its exit code is not lost: it is no success"


def test_a_command_of_a_killed_task_ends_with_it(tmp_path: Path) -> None:
    command = ending_with_parent([sys.executable, "-c", f"open({str(tmp_path / 'up')!r}, 'w'); {DEAF}"])
    parent, child = parent_of(
        "import subprocess, time\n"
        f"print(subprocess.Popen({command!r}, stdout=2).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    wait_until((tmp_path / "up").exists, 20, "the command")
    parent.kill()
    parent.wait()
    wait_until(lambda: not child.is_alive, 5, "the command's end")


def test_a_process_that_ends_with_its_parent_does_so_whatever_kills_that() -> None:
    parent, child = parent_of(
        "import os, time\n"
        "from medallion_store.parent_process import end_with_parent\n"
        "if os.fork() == 0:\n"
        "    end_with_parent()\n"
        "    print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    assert child.is_alive
    parent.kill()
    parent.wait()
    wait_until(lambda: not child.is_alive, 5, "the child's end")
