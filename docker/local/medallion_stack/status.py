"""What runs, where, and how much memory it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psutil

from medallion_stack.console import say
from medallion_stack.process import ProcessTable
from medallion_stack.stack import SUPERVISOR, Stack, process_table
from medallion_stack.state import State
from medallion_stack.stream_status import stream_lines
from medallion_stack.supervisor import restarts
from medallion_store.process_id import ProcessId

_MEBI = 2**20


def print_status(state: State) -> bool:
    """Print a line for each service and the addresses; whether all of them run."""
    if not state.settings_file.exists():
        say(f"nothing was started yet in {state.folder}")
        return False
    stack = Stack.of(state)
    # Asked once: what died or came back meanwhile is not shown as one and counted as the other.
    names = [*(service.name for service in stack.services()), SUPERVISOR]
    found = {name: stack.processes.find(name) for name in names}
    for line in _lines(stack, found):
        say(line)
    return all(found.values())


def proportional_memory(processes: list[ProcessId]) -> int:
    """Bytes of memory (PSS): a page that n processes share counts 1/n in each, so the sum is what is used."""
    total = 0
    for process in processes:
        try:
            total += psutil.Process(process.pid).memory_full_info().pss
        except psutil.Error:
            continue  # it ended meanwhile
    return total


def stack_memory(state: State) -> int:
    """Bytes of memory (PSS) of every process of the stack, Spark drivers and executors included."""
    return proportional_memory(process_table(state).members())


def _lines(stack: Stack, found: Mapping[str, ProcessId | None]) -> Iterator[str]:
    again = restarts(stack.state)
    yield f"{'service':<22} {'pid':>8} {'MiB (PSS)':>10} {'restarts':>9}  address"
    for service in stack.services():
        name = service.name
        yield _line(stack.processes, name, found[name], service.ready_on, again.get(name, 0))
    yield _line(stack.processes, SUPERVISOR, found[SUPERVISOR], "", 0)
    yield f"{'all':<22} {'':>8} {stack_memory(stack.state) // _MEBI:>10}"
    yield ""
    is_up, broker_runs = any(found.values()), found["broker"] is not None
    yield from stream_lines(stack.airflow.settings, is_up=is_up, broker_runs=broker_runs)
    yield ""
    yield f"Airflow       {stack.airflow.url}  (user and password in {stack.state.settings_file})"
    yield f"Spark         {stack.spark.web_url}"
    yield f"mail          {stack.mail.folder}"
    yield f"logs          {stack.state.logs}"


def _line(processes: ProcessTable, name: str, process: ProcessId | None, address: str, restarted: int) -> str:
    if process is None:
        return f"{name:<22} {'DOWN':>8} {'':>10} {restarted:>9}  {address}"
    memory = proportional_memory(_counted(processes, name, process)) // _MEBI
    return f"{name:<22} {process.pid:>8} {memory:>10} {restarted:>9}  {address}"


def _counted(processes: ProcessTable, name: str, process: ProcessId) -> list[ProcessId]:
    """The processes whose memory is a service's.

    The supervisor started all the others, and what outlived a killed one of them still carries its mark: of
    the supervisor only its own process counts. The stack's sum has them all.
    """
    return [process] if name == SUPERVISOR else processes.members(name)
