"""What the watcher outside Airflow takes for silence: pure rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from medallion_ops.watch.findings import Found, find, identity

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
AGO = NOW - timedelta(minutes=7)


def health(**status: str | None) -> dict[str, Any]:
    """Airflow's report, all well but for the parts named."""
    parts = {"metadatabase": {"status": status.get("metadatabase", "healthy")}}
    for name in ("scheduler", "triggerer", "dag_processor"):
        state = status.get(name, "healthy")
        at = (AGO if state == "unhealthy" else NOW).isoformat()
        parts[name] = {"status": state, f"latest_{name}_heartbeat": at}
    return parts


def names(found: Found) -> list[str]:
    return [" ".join(identity(problem)).strip() for problem, _ in found.problems]


def look(report: dict[str, Any] | None, age: float | None = 60, *, has_postgres: bool = True) -> Found:
    looked_at = None if age is None else NOW - timedelta(seconds=age)
    return find(report, looked_at, has_postgres=has_postgres, now=NOW)


def test_all_well_is_nothing() -> None:
    assert look(health()) == Found()


@pytest.mark.parametrize(
    ("part", "name"),
    [("scheduler", "scheduler"), ("triggerer", "triggerer"), ("dag_processor", "DAG processor")],
)
def test_a_process_without_heartbeats_is_silent_since_its_last_one(part: str, name: str) -> None:
    found = look(health(**{part: "unhealthy"}))
    assert names(found) == [f"airflow_silent {name}"]
    assert found.problems[0][1] == AGO


def test_a_process_that_was_never_started_is_not_missed() -> None:
    assert not names(look(health(triggerer=None)))


def test_one_cause_is_one_problem() -> None:
    unhealthy = dict.fromkeys(("scheduler", "triggerer", "dag_processor"), "unhealthy")
    assert names(look(None, 900)) == ["airflow_silent API server"]
    assert names(look(health(metadatabase="unhealthy", **unhealthy), 900)) == ["airflow_silent database"]
    assert names(look(health(scheduler="unhealthy"), 900)) == ["airflow_silent scheduler"]
    everything = look(health(metadatabase="unhealthy", **unhealthy), None, has_postgres=False)
    assert names(everything) == ["postgres_down"]


def test_what_could_not_be_asked_is_unknown_not_well() -> None:
    found = look(None, None, has_postgres=False)
    assert names(found) == ["postgres_down", "airflow_silent API server"]
    subjects = {"database", "scheduler", "triggerer", "DAG processor"}
    assert found.unknown == {("monitor_silent", "")} | {("airflow_silent", one) for one in subjects}


@pytest.mark.parametrize(("age", "is_silent"), [(125, False), (149, False), (151, True), (None, True)])
def test_the_monitor_is_silent_when_a_look_is_overdue(age: float | None, is_silent: bool) -> None:
    found = look(health(), age)
    assert names(found) == (["monitor_silent"] if is_silent else [])
    if age and is_silent:
        assert found.problems[0][1] == NOW - timedelta(seconds=age - 120)


@pytest.mark.parametrize("report", [{}, {"metadatabase": None}, {"metadatabase": {"status": "healthy"}}])
def test_a_report_of_another_form_breaks_nothing(report: dict[str, Any]) -> None:
    look(report)
