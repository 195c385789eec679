"""A small process that starts again what dies, and writes down that it did."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from medallion_contracts.errors import MedallionError
from medallion_stack.console import say
from medallion_stack.environment import base_environment
from medallion_stack.layout import VENV
from medallion_stack.process import Service
from medallion_stack.stack import SUPERVISOR, Stack, exclusive
from medallion_stack.state import State

_LOOK_SECONDS = 2
_FIRST_WAIT_SECONDS = 2
_LONGEST_WAIT_SECONDS = 60
_STABLE_SECONDS = 300


def start(stack: Stack) -> None:
    """Run the supervisor of the stack as a service of its own."""
    stack.processes.start(
        Service(
            name=SUPERVISOR,
            command=[str(VENV / "bin/python"), "-m", "medallion_stack", "supervise"],
            environment={**base_environment(), "MEDALLION_STATE": str(stack.state.folder)},
            is_ready=lambda: True,
            ready_on="-",
        )
    )


def run(state: State) -> None:
    """Look after the services until killed; what dies often is started again more slowly."""
    stack = Stack.of(state)
    services = stack.services()
    deaths: dict[str, int] = {}
    last_start: dict[str, float] = {}
    _log(f"looking after {', '.join(service.name for service in services)}")
    while True:
        time.sleep(_LOOK_SECONDS)
        for service in services:
            if stack.processes.find(service.name):
                continue
            now = time.monotonic()
            if now - last_start.get(service.name, now) > _STABLE_SECONDS:
                deaths[service.name] = 0
            wait = min(_FIRST_WAIT_SECONDS * 2 ** deaths.get(service.name, 0), _LONGEST_WAIT_SECONDS)
            if service.name in last_start and now - last_start[service.name] < wait:
                continue
            deaths[service.name] = deaths.get(service.name, 0) + 1
            last_start[service.name] = now
            _start_again(stack, service, deaths[service.name])


def restarts(state: State) -> dict[str, int]:
    """How often each service was started again since the stack's log began."""
    counts: dict[str, int] = {}
    log = state.logs / f"{SUPERVISOR}.log"
    for line in log.read_text().splitlines() if log.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if "restarted" in entry:
            counts[entry["restarted"]] = counts.get(entry["restarted"], 0) + 1
    return counts


def _start_again(stack: Stack, service: Service, deaths: int) -> None:
    # `up` and `down` hold the lock while they start and stop: what they stop is not to be started again.
    with exclusive(stack.state):
        if service.name not in stack.processes.names():
            return
        _log(f"{service.name} has died (time {deaths}): starting it again", restarted=service.name)
        try:
            stack.processes.stop(service.name)  # what it left behind, e.g. executors of a killed worker
            if service.name == "postgres":
                stack.postgres.prepare()  # a stale postmaster.pid would keep it from starting
            stack.processes.start(service)
            stack.processes.wait_ready(service)
            _log(f"{service.name} answers again")
        except MedallionError as error:
            _log(f"{service.name} does not come back: {error}")


def _log(message: str, **more: str) -> None:
    say(json.dumps({"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "message": message, **more}))
