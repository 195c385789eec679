"""Stops the stack, in the order in which its services can do without one another, and removes its folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial

from medallion_contracts.errors import MedallionError, ServiceUnavailable
from medallion_stack.parallel import in_parallel
from medallion_stack.process import kill_all
from medallion_stack.stack import SUPERVISOR, process_table
from medallion_stack.state import State

# Later groups are what earlier ones need; Spark apart, see below.
_STOP_ORDER = (
    (SUPERVISOR,),
    ("watcher",),
    ("airflow-scheduler", "airflow-triggerer", "airflow-dag-processor", "airflow-api-server"),
    # Before its worker: what the worker then stops stays in the master's memory, to be launched again.
    ("spark-master",),
    ("spark-worker",),
    ("broker", "mail", "postgres"),
)


def down(state: State, report: Callable[[str], None] = print) -> None:
    """Stop everything the stack started, also what outlived its parent; files stay."""
    processes = process_table(state)
    names = processes.names()
    known = {name for group in _STOP_ORDER for name in group}
    for group in (*_STOP_ORDER, tuple(set(names) - known)):
        present = [name for name in group if name in names]
        if present:
            in_parallel([partial(processes.stop, name) for name in present])
            report(f"  stopped {', '.join(present)}")
    kill_all(processes.members())
    left = processes.members()
    if left:
        raise ServiceUnavailable(f"processes do not end: {', '.join(str(process.pid) for process in left)}")


def clean(state: State) -> None:
    """Remove the state folder of a stack that is down.

    Raises:
        MedallionError: the folder is not one a stack made.
    """
    if not state.folder.exists():
        return
    if not (state.folder / "stack.json").exists():
        raise MedallionError(f"{state.folder} holds no stack.json, so it is no stack's folder: not removed")
    shutil.rmtree(state.folder)
