"""What the watcher finds: pure functions of what Airflow's health report and Postgres say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from medallion_ops.monitor.problem import Problem
from medallion_store.utc_time import parse_utc

MONITOR_INTERVAL = timedelta(minutes=2)
"""Between two looks of platform_monitor."""
MONITOR_GRACE = timedelta(seconds=30)
"""What a look may take until its samples are in Postgres."""
HEALTHY = "healthy"

API = Problem(
    "airflow_silent",
    "Airflow's API server does not answer.",
    "No task starts or ends: nothing new reaches gold. The stream on the cluster runs on; nothing is lost.",
    "See its process and log (`make status`, `make logs s=airflow-api-server`); start it again.",
    subject="API server",
)
DATABASE = Problem(
    "airflow_silent",
    "Airflow cannot reach its database.",
    "No DAG runs: gold stays as it is. The stream on the cluster runs on; nothing is lost.",
    "Start the Postgres that holds Airflow's tables, or correct its address.",
    subject="database",
)
POSTGRES = Problem(
    "postgres_down",
    "Postgres does not answer.",
    "Gold cannot be read or published; where it holds Airflow's tables too, no DAG runs. The stream runs on.",
    "Start it, or correct MEDALLION_GOLD_DSN; look for a full disk in its log.",
)
MONITOR = Problem(
    "monitor_silent",
    "platform_monitor has not looked for longer than it may.",
    "Data flows on, but no one is notified of other problems.",
    "Is the DAG platform_monitor paused, or does its task fail? See its last runs.",
)
SUPERVISOR = Problem(
    "supervisor_down",
    "The local stack's supervisor has ended, and not by `make down`.",
    "All services run on, but one that dies is not started again.",
    "`make up` starts the supervisor, and whatever does not run.",
)
_PROCESSES = {
    "scheduler": (
        "scheduler",
        "No task is started: gold stays as it is, the monitor does not look. The stream runs on.",
        "make logs s=airflow-scheduler",
    ),
    "triggerer": (
        "triggerer",
        "No one waits for the stream's driver: one that ends is not started again. Other DAGs run on.",
        "make logs s=airflow-triggerer",
    ),
    "dag_processor": (
        "DAG processor",
        "Changed DAG files are not read; after a while the scheduler starts no more runs.",
        "make logs s=airflow-dag-processor",
    ),
}


@dataclass(frozen=True)
class Found:
    """One check: problems with the time they began, and what could not be asked.

    `unknown` holds identities (code, subject) that this check says nothing about.
    """

    problems: tuple[tuple[Problem, datetime], ...] = ()
    unknown: frozenset[tuple[str, str]] = field(default_factory=frozenset)


def identity(problem: Problem) -> tuple[str, str]:
    """What makes two problems of the watcher the same one."""
    return problem.code, problem.subject


def find(
    health: Mapping[str, Any] | None,
    looked_at: datetime | None,
    *,
    has_postgres: bool,
    now: datetime,
    has_supervisor: bool = True,
) -> Found:
    """What is wrong: one cause is one problem, what follows from it is not asked.

    Args:
        health: Airflow's report; None without an answer.
        looked_at: newest look of the monitor; None when there was none, or Postgres does not answer.
        has_postgres: whether gold's Postgres answers.
        now: UTC.
        has_supervisor: whether the local stack's supervisor lives; true where there is none to watch.
    """
    found = [] if has_supervisor else [(SUPERVISOR, now)]
    found += [] if has_postgres else [(POSTGRES, now)]
    unknown: set[tuple[str, str]] = set()
    airflow, has_all = _airflow(health, now, unknown)
    if not has_postgres and airflow and airflow[0][0] is DATABASE:
        airflow = []  # the same server, or the same network
        unknown.add(identity(DATABASE))
    found += airflow
    if not has_postgres or not has_all:
        unknown.add(identity(MONITOR))
    elif looked_at is None:
        found.append((MONITOR, now))
    elif now - looked_at > MONITOR_INTERVAL + MONITOR_GRACE:
        found.append((MONITOR, looked_at + MONITOR_INTERVAL))
    return Found(tuple(found), frozenset(unknown))


def _airflow(
    health: Mapping[str, Any] | None, now: datetime, unknown: set[tuple[str, str]]
) -> tuple[list[tuple[Problem, datetime]], bool]:
    """Problems of Airflow, and whether the monitor can run as far as Airflow is concerned."""
    processes = {name: _process(name) for name in _PROCESSES}
    if health is None:
        unknown |= {identity(DATABASE), *map(identity, processes.values())}
        return [(API, now)], False
    if _status(health, "metadatabase") != HEALTHY:
        unknown |= {identity(one) for one in processes.values()}
        return [(DATABASE, now)], False
    found = [
        (problem, _last_sign(health, name) or now)
        for name, problem in processes.items()
        # The report has None for a process that was never started, as where DAGs are parsed otherwise.
        if _status(health, name) not in (HEALTHY, None)
    ]
    return found, _status(health, "scheduler") == HEALTHY


def _process(name: str) -> Problem:
    title, meaning, command = _PROCESSES[name]
    return Problem(
        "airflow_silent",
        f"Airflow's {title} gives no heartbeat.",
        meaning,
        f"See its process and log (`make status`, `{command}`); start it again.",
        subject=title,
    )


def _status(health: Mapping[str, Any], name: str) -> object:
    part = health.get(name)
    return part.get("status") if isinstance(part, Mapping) else None


def _last_sign(health: Mapping[str, Any], name: str) -> datetime | None:
    return parse_utc(health[name].get(f"latest_{name}_heartbeat"))
