"""Airflow's REST API, as far as the demo and the end-to-end tests speak it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from medallion_contracts.errors import ServiceUnavailable

FINISHED = ("success", "failed")
_TIMEOUT_SECONDS = 30
_TOKEN_SECONDS = 1800


@dataclass(frozen=True)
class Task:
    """One task of a DAG run as it stands; `state` is Airflow's word, None before it is scheduled."""

    task_id: str
    state: str | None


@dataclass(frozen=True)
class TaskTimes:
    """When a task of a run began and ended; None: it did not (yet)."""

    task_id: str
    started: str | None
    ended: str | None


@dataclass(frozen=True)
class Timeline:
    """When a run was triggered and ended (None: not yet), and its tasks in the order of their starts."""

    triggered: str
    ended: str | None
    tasks: tuple[TaskTimes, ...]


class AirflowClient:
    """A logged-in client; logs in again before its token ends."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._token = ""
        self._token_since = -float(_TOKEN_SECONDS)

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> AirflowClient:
        """Client by the settings of `stack.env`."""
        return cls(
            settings["MEDALLION_AIRFLOW_URL"],
            settings["MEDALLION_AIRFLOW_USER"],
            settings["MEDALLION_AIRFLOW_PASSWORD"],
        )

    def wait_for_dag(self, dag_id: str, seconds: float) -> None:
        """Wait until the DAG processor has read the DAG.

        Raises:
            ServiceUnavailable: it has not in that time; carries the import errors there are.
        """
        deadline = time.monotonic() + seconds
        while not self._exists(f"dags/{dag_id}"):
            if time.monotonic() > deadline:
                errors = [error["stack_trace"] for error in self._get("importErrors")["import_errors"]]
                told = "; import errors:\n" + "\n".join(errors) if errors else ""
                raise ServiceUnavailable(f"Airflow has no DAG {dag_id} after {seconds:.0f} s{told}")
            time.sleep(0.5)

    def set_paused(self, dag_id: str, is_paused: bool) -> None:
        """Pause the DAG or let its schedule and triggered runs go on."""
        self._call("PATCH", f"dags/{dag_id}", {"is_paused": is_paused})

    def set_pool(self, name: str, slots: int, description: str) -> None:
        """Make a pool, or change its slots.

        Args:
            name: of the pool.
            slots: how many tasks may run in it at once.
            description: for people.
        """
        wanted = {"slots": slots, "description": description, "include_deferred": False}
        if self._exists(f"pools/{name}"):
            self._call("PATCH", f"pools/{name}?update_mask=slots", {"name": name, **wanted})
        else:
            self._call("POST", "pools", {"name": name, **wanted})

    def pool_slots(self, name: str) -> int:
        """How many slots a pool has."""
        return int(self._get(f"pools/{name}")["slots"])

    def trigger(self, dag_id: str, params: Mapping[str, object] | None = None) -> str:
        """Make a run of the DAG now; returns its run id."""
        run = self._call("POST", f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": dict(params or {})})
        return str(run["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> str:
        """State of a run: queued, running, success or failed."""
        return str(self._get(_run(dag_id, run_id))["state"])

    def runs(self, dag_id: str, *states: str) -> list[str]:
        """Ids of the DAG's runs in these states, newest first."""
        query = urlencode({"state": states, "order_by": "-run_after", "limit": 100}, doseq=True)
        return [str(run["dag_run_id"]) for run in self._get(f"dags/{dag_id}/dagRuns?{query}")["dag_runs"]]

    def tasks(self, dag_id: str, run_id: str) -> list[Task]:
        """The run's tasks, in the order they were started."""
        found = self._get(f"{_run(dag_id, run_id)}/taskInstances?order_by=start_date&limit=100")
        return [Task(task["task_id"], task["state"]) for task in found["task_instances"]]

    def timeline(self, dag_id: str, run_id: str) -> Timeline:
        """What a run's time was spent on; times are ISO 8601, UTC."""
        run = self._get(_run(dag_id, run_id))
        found = self._get(f"{_run(dag_id, run_id)}/taskInstances?order_by=start_date&limit=100")
        tasks = (
            TaskTimes(task["task_id"], task["start_date"], task["end_date"])
            for task in found["task_instances"]
        )
        return Timeline(run["run_after"], run["end_date"], tuple(tasks))

    def dag_ids(self) -> list[str]:
        """Every DAG there is."""
        return [str(dag["dag_id"]) for dag in self._get("dags?limit=100")["dags"]]

    def tries(self, dag_id: str, run_id: str, task_id: str) -> int:
        """How often a task was tried."""
        return int(self._get(f"{_run(dag_id, run_id)}/taskInstances/{task_id}")["try_number"])

    def backfill(self, wanted: Mapping[str, object]) -> None:
        """Ask for runs of a DAG for past intervals."""
        self._call("POST", "backfills", wanted)

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Have the tasks of a run, and what follows them, run again; all of them when none is named."""
        wanted: dict[str, object] = {"dag_run_id": run_id, "dry_run": False, "only_failed": False}
        if task_ids:
            wanted |= {"task_ids": list(task_ids), "include_downstream": True}
        self._call("POST", f"dags/{dag_id}/clearTaskInstances", wanted)

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task as a person does: success or failed."""
        self._call("PATCH", f"{_run(dag_id, run_id)}/taskInstances/{task_id}", {"new_state": state})

    def result(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned; None when it returned nothing."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/return_value?deserialize=true"
        return self._get(path)["value"] if self._exists(path) else None

    def asks(self, dag_id: str, run_id: str, task_id: str) -> bool:
        """Whether a task shows a question to people that nobody has answered."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/-1/hitlDetails"
        return self._exists(path) and not self._get(path)["response_received"]

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer a task's question to a person, as a click under *Required Actions* does."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/-1/hitlDetails"
        self._call("PATCH", path, {"chosen_options": [option], "params_input": {}})

    def run_page(self, dag_id: str, run_id: str) -> str:
        """Address of a run for people."""
        return f"{self.url}/{_run(dag_id, run_id).replace('dagRuns', 'runs')}"

    def _exists(self, path: str) -> bool:
        try:
            self._get(path)
        except ServiceUnavailable as error:
            if isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == 404:
                return False
            raise
        return True

    def _get(self, path: str) -> dict[str, Any]:
        return self._call("GET", path)

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        if time.monotonic() - self._token_since > _TOKEN_SECONDS:
            answer = self._send("POST", f"{self.url}/auth/token", self._login, {})
            self._token = answer["access_token"]
            self._token_since = time.monotonic()
        return self._send(
            method, f"{self.url}/api/v2/{path}", body, {"Authorization": f"Bearer {self._token}"}
        )

    @staticmethod
    def _send(
        method: str, url: str, body: Mapping[str, object] | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - http on loopback
            url,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")[:2000]
            raise ServiceUnavailable(f"Airflow refused {method} {url} ({error.code}): {told}") from error
        except OSError as error:
            raise ServiceUnavailable(
                f"Airflow does not answer at {url} (MEDALLION_AIRFLOW_URL): {error}"
            ) from error


def _run(dag_id: str, run_id: str) -> str:
    return f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
