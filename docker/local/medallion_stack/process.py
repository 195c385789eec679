"""Start, find again and stop the processes of a stack; uses nothing but the standard library beside our own.

A process is known by pid *and* start time, so a pid that the system gave to somebody else is never
signalled. Every process also carries a marker in its environment, inherited by what it starts (Airflow
tasks, Spark executors): that finds what outlived a killed parent. Some overwrite their environment with a
title (Airflow's workers, Postgres): those are known by the session that their service began, or as children.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medallion_contracts.errors import ServiceUnavailable
from medallion_store.process_id import PARENT, SESSION, ProcessId, boot_id, stat_of

MARKER = "MEDALLION_STACK_MEMBER"
_POLL_SECONDS = 0.1
_LOG_LIMIT_BYTES = 20_000_000


@dataclass(frozen=True)
class Service:
    """How to run one service: what to start, how to tell that it answers, how to stop it.

    `is_ready` is asked until it is true and may raise `OSError`-like errors of its client while the service
    starts; `ready_on` names the address for messages. `dies_with_parent` is for tests: the kernel then
    kills the service when the process that started it dies, whatever killed that.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    is_ready: Callable[[], bool]
    ready_on: str
    ready_seconds: float = 60
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20
    dies_with_parent: bool = False


class ProcessTable:
    """The processes of one stack: pid files in `run`, logs in `logs`, all marked with `owner`."""

    def __init__(self, run: Path, logs: Path, owner: str) -> None:
        self._run = run
        self._logs = logs
        self._owner = owner
        self._children: list[subprocess.Popen[bytes]] = []

    def log_file(self, name: str) -> Path:
        """Where a service's output goes."""
        return self._logs / f"{name}.log"

    def find(self, name: str) -> ProcessId | None:
        """The running process of a service; None when it does not run (a stale pid file counts as none)."""
        self._children = [child for child in self._children if child.poll() is None]
        noted = self._noted(name)
        identity = ProcessId(noted["pid"], noted["started"]) if noted else None
        return identity if identity and identity.is_alive else None

    def names(self) -> list[str]:
        """The services that were started and not stopped, running or not."""
        return sorted(path.stem for path in self._run.glob("*.json"))

    def start(self, service: Service) -> ProcessId:
        """Start a service unless it runs already, without waiting for it."""
        running = self.find(service.name)
        if running:
            return running
        self._run.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self.log_file(service.name)
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".log.1"))
        command = [*service.command]
        if service.dies_with_parent:
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env={**service.environment, MARKER: f"{self._owner}:{service.name}"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal is for `make`, not for the services
            )
        self._children.append(process)
        identity = ProcessId.of(process.pid)
        if identity is None:
            raise ServiceUnavailable(f"{service.name} ended at once; {self._last_words(service.name)}")
        noted = self.note_of(service.name)
        draft = noted.with_suffix(".new")
        how_to_stop = {"stop_signal": service.stop_signal, "stop_seconds": service.stop_seconds}
        draft.write_text(json.dumps({**vars(identity), **how_to_stop}))
        draft.replace(noted)
        return identity

    def wait_ready(self, service: Service) -> None:
        """Wait until a started service answers.

        Raises:
            ServiceUnavailable: it ended, or did not answer in time; says where it was asked and ends with
                the last lines of its log.
        """
        deadline = time.monotonic() + service.ready_seconds
        last_error: Exception | None = None
        while time.monotonic() < deadline:
            if self.find(service.name) is None:
                raise ServiceUnavailable(
                    f"{service.name} ended while it started; {self._last_words(service.name)}"
                )
            try:
                if service.is_ready():
                    return
            except Exception as error:  # whatever the service's client raises while nothing listens yet
                last_error = error
            time.sleep(_POLL_SECONDS)
        raise ServiceUnavailable(
            f"{service.name} did not answer on {service.ready_on} within {service.ready_seconds:.0f} s"
            f"{f' ({last_error})' if last_error else ''}; {self._last_words(service.name)}"
        )

    def stop(self, name: str) -> None:
        """Stop a service and what it started: ask, wait, then kill."""
        running, noted = self.find(name), self._noted(name)
        if running and noted:
            with suppress(ProcessLookupError):
                os.kill(running.pid, noted["stop_signal"])
            _wait_gone([running], noted["stop_seconds"])
        kill_all(self.members(name))
        self.note_of(name).unlink(missing_ok=True)

    def members(self, name: str | None = None) -> list[ProcessId]:
        """Every running process of the stack, or of one of its services, with all that they started."""
        mark = f"{MARKER}={self._owner}:{name or ''}".encode()
        sessions = self._sessions([name] if name else self.names())
        parents: dict[int, int] = {}
        marked: set[int] = set()
        for pid in sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
            fields = stat_of(pid)
            if not fields or pid == os.getpid():
                continue
            parents[pid] = int(fields[PARENT])
            environment = _environment(pid)
            if any(line == mark if name else line.startswith(mark) for line in environment) or (
                int(fields[SESSION]) in sessions
                and not any(line.startswith(b"PATH=") for line in environment)
            ):
                marked.add(pid)
        noted = [self.find(service) for service in ([name] if name else self.names())]
        marked.update(process.pid for process in noted if process)
        found = {pid for pid in parents if marked.intersection(_line_of(pid, parents))}
        return [process for pid in sorted(found) if (process := ProcessId.of(pid))]

    def _sessions(self, names: Sequence[str]) -> set[int]:
        """The sessions that the named services began and that are theirs still, be the services dead or not.

        The system gives no new process the number of a session that has members. So only a session whose
        leader is alive and not the service is another's.
        """
        sessions = set()
        for name in names:
            noted = self._noted(name)
            if noted and noted["started"].startswith(boot_id()):
                leader = ProcessId.of(noted["pid"])
                if leader is None or leader.started == noted["started"]:
                    sessions.add(int(noted["pid"]))
        return sessions

    def note_of(self, name: str) -> Path:
        """The file that says which process a service is; gone when it was stopped on purpose."""
        return self._run / f"{name}.json"

    def _noted(self, name: str) -> dict[str, Any] | None:
        # A file is replaced whole, so it is complete or absent: absent, of an interrupted start, the
        # sweep by marker still finds the process.
        with suppress(FileNotFoundError):
            noted: dict[str, Any] = json.loads(self.note_of(name).read_text())
            return noted
        return None

    def _last_words(self, name: str) -> str:
        log = self.log_file(name)
        lines = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
        return "\n  ".join([f"its log {log} ends with:", *lines]) if lines else f"its log {log} is empty"


def kill_all(processes: Sequence[ProcessId], grace_seconds: float = 3) -> None:
    """Ask processes to end, and kill those that have not after the grace time."""
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10.0)):
        for process in processes:
            if process.is_alive:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)
        if _wait_gone(processes, seconds):
            return


def _wait_gone(processes: Sequence[ProcessId], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(process.is_alive for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _environment(pid: int) -> list[bytes]:
    """The environment that a process started with, or what it has written over it."""
    with suppress(OSError):  # it ended meanwhile, or belongs to another user
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def _line_of(pid: int, parents: Mapping[int, int]) -> Iterator[int]:
    """The process and its ancestors."""
    while pid in parents:
        yield pid
        pid = parents[pid]
