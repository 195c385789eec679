"""The demo: the public customer table from a CSV to gold, through Airflow, with known faults among it.

Running it again is harmless: the same customers get a newer version each. So is breaking it off at any
point: what was sent is worked off, and the next run counts from there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from medallion_contracts.errors import GoldError, ServiceUnavailable, StreamError
from medallion_stack.airflow_client import FINISHED, AirflowClient
from medallion_stack.console import say
from medallion_stack.observe import LakeView, Verdicts
from medallion_stack.stack import TELCO, Stack
from medallion_stack.waiting import wait_until

PRODUCER, STREAMING, GOLD = "customers_producer", "customers_streaming", "customers_gold"
# Two of each kind of broken record that the producer knows.
FAULTS = {"broken": 24, "duplicated": 50, "late": 20}
# The gate's question to a person, and the states in which it waits for the answer.
_QUESTION, _ASKING = "decide", ("running", "deferred", "awaiting_input")
_UNTOLD = (None, "skipped")
_WAITING = "waits for a person: the gate found fault"
_PRODUCER_SECONDS = 300
_STREAM_SECONDS = 600
_GOLD_SECONDS = 900


@dataclass(frozen=True)
class Outcome:
    """What one run of the demo did."""

    sent: dict[str, Any]
    """The producer's counts: sent, acked, failed, events, duplicated, late, broken by reason."""
    found: Verdicts
    """The verdicts on what it sent."""
    gold_run: str
    """Airflow's id of the gold run."""
    gold_state: str
    """Its end: success or failed; or that it waits for a person, as the gate found fault."""
    seconds: float


def run(stack: Stack) -> Outcome:
    """Send the table with faults, wait for the stream's verdicts, then for gold; says how far it is.

    Raises:
        ServiceUnavailable: Airflow lacks a DAG, or the producer failed.
        StreamError: the stream did not work the records off in time.
        GoldError: the gold run did not end in time.
    """
    started = time.monotonic()
    settings = stack.airflow.settings
    airflow, lake = AirflowClient.of(settings), LakeView(settings["MEDALLION_LAKE_URI"])
    for dag in (STREAMING, PRODUCER, GOLD):
        airflow.wait_for_dag(dag, 120)
    for dag in (STREAMING, PRODUCER, GOLD):
        # Gold's schedule makes a run of the hour at once: better now, with nothing to do, than later in
        # the way of the demo's own.
        airflow.set_paused(dag, False)
    before = _settled(stack, airflow, lake)
    sent = _send(airflow)
    _wait_for_verdicts(lake, before.records + sent["acked"], sent["acked"])
    gold_run, gold_state = _publish(airflow)
    found = lake.verdicts().since(before)
    return Outcome(sent, found, gold_run, gold_state, time.monotonic() - started)


def _settled(stack: Stack, airflow: AirflowClient, lake: LakeView) -> Verdicts:
    """The verdicts so far, once all that an earlier run sent has one."""
    waiting = airflow.runs(PRODUCER, "running", "queued")
    if waiting:
        say(f"a producer run is under way ({waiting[0]}): waiting for its end")
        wait_until(lambda: not airflow.runs(PRODUCER, "running", "queued"), _PRODUCER_SECONDS, "the producer")
    on_topics = stack.broker.record_count(("customers", "customers_replay"))
    if lake.records() < on_topics:
        _wait_for_verdicts(lake, on_topics, on_topics)
    return lake.verdicts()


def _send(airflow: AirflowClient) -> dict[str, Any]:
    params = {"source": "telco", "file": TELCO.name, "count": None, **FAULTS}
    run = airflow.trigger(PRODUCER, params)
    say(f"producer: the Telco table and {FAULTS} ({airflow.run_page(PRODUCER, run)})")
    wait_until(lambda: airflow.state(PRODUCER, run) in FINISHED, _PRODUCER_SECONDS, "the producer")
    sent: dict[str, Any] | None = airflow.result(PRODUCER, run, "produce")
    if airflow.state(PRODUCER, run) == "failed" or sent is None:
        raise ServiceUnavailable(f"the producer failed; its log: {airflow.run_page(PRODUCER, run)}")
    say(f"producer: sent {sent['sent']:,}, acknowledged {sent['acked']:,}, failed {sent['failed']:,}")
    return sent


def _wait_for_verdicts(lake: LakeView, records: int, new: int) -> None:
    def progress() -> str:
        return f"stream: {max(0, new - records + lake.records()):,} of {new:,} records have a verdict"

    try:
        # The ledger is written last: with it, silver and quarantine are complete too.
        wait_until(lambda: lake.balance().read >= records, _STREAM_SECONDS, "the stream", progress)
    except ServiceUnavailable as error:
        raise StreamError(
            f"{error}; see `make logs s=spark-worker` and the DAG {STREAMING} in Airflow"
        ) from error
    say(progress())


def _publish(airflow: AirflowClient) -> tuple[str, str]:
    run = airflow.trigger(GOLD)  # waits its turn when the hour's run is under way
    say(f"gold: {airflow.run_page(GOLD, run)}")

    def progress() -> str:
        tasks = [
            f"{task.task_id} {task.state}" for task in airflow.tasks(GOLD, run) if task.state not in _UNTOLD
        ]
        return f"gold: {', '.join(tasks) or 'queued'}"

    def end() -> str | None:
        state = airflow.state(GOLD, run)
        if state in FINISHED:
            return state
        asked = [task for task in airflow.tasks(GOLD, run) if task.task_id == _QUESTION]
        return _WAITING if asked and asked[0].state in _ASKING else None

    try:
        wait_until(lambda: end() is not None, _GOLD_SECONDS, "the gold run", progress)
    except ServiceUnavailable as error:
        raise GoldError(f"{error}; {airflow.run_page(GOLD, run)} says why") from error
    say(progress())
    return run, str(end())
