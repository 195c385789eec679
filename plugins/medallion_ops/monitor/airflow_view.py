"""What the monitor asks Airflow's API, with a login of its own (connection `airflow_api`, a viewer)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from medallion_contracts.errors import ServiceUnavailable

CONNECTION = "airflow_api"
TIMEOUT_SECONDS = 5
ENDED_RUNS = 24


@dataclass(frozen=True)
class AirflowView:
    """Paused DAGs, when the oldest running run of each DAG began (UTC), and how many failed in a row."""

    paused: tuple[str, ...] = ()
    running_since: Mapping[str, datetime] = field(default_factory=dict)
    failed_in_a_row: Mapping[str, int] = field(default_factory=dict)


def airflow_view(must_run: Iterable[str], gold_dags: Iterable[str]) -> AirflowView | None:
    """Ask Airflow; None when the connection `airflow_api` is not defined, so nothing can be asked.

    Args:
        must_run: dag_ids that must not be paused, once they have run.
        gold_dags: dag_ids whose running runs are timed, and whose failed runs are counted.

    Raises:
        ServiceUnavailable: the API does not answer or refuses the login.
    """
    import httpx

    login = _login()
    if login is None:
        return None
    base, user, password = login
    try:
        with httpx.Client(base_url=base, timeout=TIMEOUT_SECONDS) as client:
            token = client.post("/auth/token", json={"username": user, "password": password})
            token.raise_for_status()
            client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
            dags = _get(client, "/api/v2/dags", {"limit": 100, "exclude_stale": "true", "paused": "true"})
            paused = {dag["dag_id"] for dag in dags["dags"]} & set(must_run)
            # A DAG that no one has started yet was not paused by anyone.
            paused = {dag_id for dag_id in paused if _has_run(client, dag_id)}
            running, failed = {}, {}
            for dag_id in gold_dags:
                runs = _get(client, f"/api/v2/dags/{dag_id}/dagRuns", {"state": "running", "limit": 10})
                starts = [one["start_date"] for one in runs.get("dag_runs", []) if one.get("start_date")]
                if starts:
                    running[dag_id] = min(_utc(start) for start in starts)
                failed[dag_id] = _failed_in_a_row(client, dag_id)
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise ServiceUnavailable(
            f"Airflow's API at {base} did not answer as it should ({type(error).__name__}): check the "
            f"connection {CONNECTION}"
        ) from None
    return AirflowView(tuple(sorted(paused)), running, failed)


def _failed_in_a_row(client: Any, dag_id: str) -> int:
    """How many of the newest ended runs failed, ENDED_RUNS at most."""
    newest = {"state": ["success", "failed"], "order_by": "-run_after", "limit": ENDED_RUNS}
    runs = _get(client, f"/api/v2/dags/{dag_id}/dagRuns", newest).get("dag_runs", [])
    return sum(1 for _ in takewhile(lambda run: run["state"] == "failed", runs))


def _has_run(client: Any, dag_id: str) -> bool:
    return bool(_get(client, f"/api/v2/dags/{dag_id}/dagRuns", {"limit": 1}).get("total_entries"))


def _get(client: Any, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
    answer = client.get(path, params=query)
    if answer.status_code == 404:  # a DAG that is not there yet
        return {}
    answer.raise_for_status()
    content: dict[str, Any] = answer.json()
    return content


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _login() -> tuple[str, str, str] | None:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        found = Connection.get(CONNECTION)
    except AirflowRuntimeError:
        return None
    if not found.host or not found.login or not found.password:
        return None
    scheme = found.schema or "http"
    port = f":{found.port}" if found.port else ""
    return f"{scheme}://{found.host}{port}", found.login, found.password
