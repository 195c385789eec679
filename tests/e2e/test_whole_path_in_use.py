"""What people and faults do to runs of gold: cleared, marked, paused, triggered twice, a scheduler killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from e2e.conftest import E2E_SECONDS, E2E_WAIT_SECONDS, Platform
from medallion_stack.airflow_client import FINISHED
from medallion_stack.report import Report
from medallion_stack.waiting import wait_until
from medallion_store.process_id import ProcessId

pytestmark = [pytest.mark.timeout(E2E_SECONDS), pytest.mark.full]
GOLD = "customers_gold"


def send(platform: Platform, seed: int, count: int = 200) -> None:
    """New versions of made-up customers, judged by the stream."""
    command = [sys.executable, "-m", "medallion_ops.producer", "--source", "synthetic"]
    command += ["--count", str(count), "--seed", str(seed)]
    subprocess.run(command, env=platform.stack.airflow.environment(), capture_output=True, check=True)
    platform.wait_for_verdicts()


def gold_customers(platform: Platform) -> int:
    return platform.gold.rows()["customers"]


def runs(platform: Platform) -> set[str]:
    return set(platform.airflow.runs(GOLD, "queued", "running", "success", "failed"))


def new_mails(platform: Platform, before: int) -> list[str]:
    """Subjects about gold's runs: the monitor and its canary write when their time has come."""
    subjects = [str(mail["Subject"]) for mail in platform.mail.messages()[before:]]
    return [one for one in subjects if GOLD in one]


def session_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return -1


def test_a_scheduler_that_is_killed_leaves_no_worker_and_no_lock_and_its_run_goes_on(
    platform: Platform, demo_report: Report
) -> None:
    send(platform, seed=101)
    before = gold_customers(platform)
    run = platform.airflow.trigger(GOLD)
    wait_until(lambda: _is_running(platform, run, "write"), 120, "the task write")
    scheduler = platform.stack.processes.find("airflow-scheduler")
    assert scheduler
    session = {
        found
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and session_of(int(entry.name)) == scheduler.pid
        if (found := ProcessId.of(int(entry.name)))
    }
    assert len(session) > 4, "the scheduler has its workers"
    os.kill(scheduler.pid, signal.SIGKILL)

    wait_until(lambda: not any(one.is_alive for one in session), 60, "the end of all that it left")
    platform.wait_for_run(GOLD, run)
    assert platform.airflow.state(GOLD, run) == "success"
    assert gold_customers(platform) > before
    with psycopg.connect(platform.stack.airflow.database) as connection:
        stuck = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' "
        stuck += "AND state_change < now() - interval '2 minutes'"
        assert connection.execute(stuck).fetchone() == (0,)


def test_a_published_run_that_is_cleared_changes_nothing_and_starts_no_other(
    platform: Platform, demo_report: Report
) -> None:
    send(platform, seed=102)
    run = platform.run_dag(GOLD)
    assert platform.airflow.state(GOLD, run) == "success"
    rows, known, mails = platform.gold.rows(), runs(platform), len(platform.mail.messages())
    platform.airflow.clear(GOLD, run)
    platform.wait_for_run(GOLD, run)
    assert platform.airflow.state(GOLD, run) == "success"
    assert (platform.gold.rows(), runs(platform)) == (rows, known)
    assert new_mails(platform, mails) == []


def test_a_run_triggered_twice_publishes_once_one_after_the_other(
    platform: Platform, demo_report: Report
) -> None:
    send(platform, seed=103)
    published = publications(platform)
    first, second = platform.airflow.trigger(GOLD), platform.airflow.trigger(GOLD)
    for run in (first, second):
        platform.wait_for_run(GOLD, run)
        assert platform.airflow.state(GOLD, run) == "success"
    assert publications(platform) == published + 1


def test_a_task_that_a_person_marks_failed_ends_its_job_and_the_next_run_publishes(
    platform: Platform, demo_report: Report
) -> None:
    send(platform, seed=104)
    published, known = publications(platform), runs(platform)
    run = platform.airflow.trigger(GOLD)
    wait_until(lambda: bool(_drivers(platform)), 120, "the job's driver")
    platform.airflow.mark(GOLD, run, "write", "failed")
    platform.wait_for_run(GOLD, run)
    wait_until(lambda: not _drivers(platform), 60, "the end of the job's driver")
    assert publications(platform) == published
    assert runs(platform) == known | {run}, "no other run follows by itself"
    assert platform.airflow.state(GOLD, platform.run_dag(GOLD)) == "success"
    assert publications(platform) == published + 1


def test_a_run_of_a_paused_dag_waits_and_publishes_once_it_goes_on(
    platform: Platform, demo_report: Report
) -> None:
    send(platform, seed=105)
    published = publications(platform)
    platform.airflow.set_paused(GOLD, True)
    try:
        run = platform.airflow.trigger(GOLD)
        wait_until(lambda: platform.airflow.state(GOLD, run) == "queued", 30, "the run")
    finally:
        platform.airflow.set_paused(GOLD, False)
    wait_until(lambda: platform.airflow.state(GOLD, run) in FINISHED, E2E_WAIT_SECONDS, "the run")
    assert platform.airflow.state(GOLD, run) == "success"
    assert publications(platform) == published + 1


def publications(platform: Platform) -> int:
    with psycopg.connect(platform.settings["MEDALLION_GOLD_DSN"]) as connection:
        [count] = connection.execute("SELECT count(*) FROM gold.publications").fetchone() or (0,)
    return int(count)


def _is_running(platform: Platform, run: str, task_id: str) -> bool:
    return any(
        task.task_id == task_id and task.state == "running" for task in platform.airflow.tasks(GOLD, run)
    )


def _drivers(platform: Platform) -> list[int]:
    """Processes of a running gold job."""
    found = []
    for process in platform.stack.processes.members():
        try:
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"silver_to_gold.py" in arguments:
            found.append(process.pid)
    return found
