"""The demo: the public Telco table from a CSV to gold, through Airflow, with known faults among it.

Running it again is harmless: the same customers and subscriptions get a newer version each. So is breaking it
off at any point: what was sent is worked off, and the next run counts from there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from medallion_contracts.errors import GoldError, ServiceUnavailable, StreamError
from medallion_contracts.loader import load_dataset
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.producer.mappings import sources_of
from medallion_ops.producer.parameters import Source
from medallion_stack.airflow_client import FINISHED, AirflowClient
from medallion_stack.console import say
from medallion_stack.layout import TELCO
from medallion_stack.observe import LakeView, Verdicts
from medallion_stack.parallel import in_parallel
from medallion_stack.stack import Stack
from medallion_stack.waiting import wait_until

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
    """What one run of the demo did with a dataset."""

    dataset: str
    sent: dict[str, Any]
    """The producer's counts: sent, acked, failed, events, duplicated, late, broken by reason."""
    found: Verdicts
    """The verdicts on what it sent."""
    gold_run: str
    """Airflow's id of the gold run."""
    gold_state: str
    """Its end: success or failed; or that it waits for a person, as the gate found fault."""
    seconds: float


@dataclass(frozen=True)
class _Dags:
    """The DAGs of a dataset, by Airflow's ids."""

    dataset: str

    @property
    def producer(self) -> str:
        return f"{self.dataset}_producer"

    @property
    def streaming(self) -> str:
        return f"{self.dataset}_streaming"

    @property
    def gold(self) -> str:
        return f"{self.dataset}_gold"


def run_all(stack: Stack) -> list[Outcome]:
    """`run` for every dataset that runs and has events in the Telco table, side by side."""
    names = [name for name in datasets_that_run(stack.airflow.settings) if Source.TELCO in sources_of(name)]
    outcomes: dict[str, Outcome] = {}

    def one(name: str) -> None:
        outcomes[name] = run(stack, name)

    in_parallel([partial(one, name) for name in names])
    return [outcomes[name] for name in names]


def run(stack: Stack, dataset: str) -> Outcome:
    """Send the table with faults, wait for the stream's verdicts, then for gold; says how far it is.

    Args:
        stack: the stack, up.
        dataset: which events the table is sent as.

    Raises:
        ServiceUnavailable: Airflow lacks a DAG, or the producer failed.
        StreamError: the stream did not work the records off in time.
        GoldError: the gold run did not end in time.
    """
    started = time.monotonic()
    settings = stack.airflow.settings
    airflow, lake = AirflowClient.of(settings), LakeView(settings["MEDALLION_LAKE_URI"], dataset)
    dags = _Dags(dataset)
    for dag in (dags.streaming, dags.producer, dags.gold):
        airflow.wait_for_dag(dag, 120)
    for dag in (dags.streaming, dags.producer, dags.gold):
        # Gold's schedule makes a run of the hour at once: better now, with nothing to do, than later in
        # the way of the demo's own.
        airflow.set_paused(dag, False)
    before = _settled(stack, airflow, lake, dags)
    sent = _send(airflow, dags)
    _wait_for_verdicts(lake, before.records + sent["acked"], sent["acked"], dags)
    gold_run, gold_state = _publish(airflow, dags)
    found = lake.verdicts().since(before)
    return Outcome(dataset, sent, found, gold_run, gold_state, time.monotonic() - started)


def _settled(stack: Stack, airflow: AirflowClient, lake: LakeView, dags: _Dags) -> Verdicts:
    """The verdicts so far, once all that an earlier run sent has one."""
    waiting = airflow.runs(dags.producer, "running", "queued")
    if waiting:
        say(f"{dags.producer}: a run is under way ({waiting[0]}): waiting for its end")
        wait_until(
            lambda: not airflow.runs(dags.producer, "running", "queued"), _PRODUCER_SECONDS, dags.producer
        )
    contracts = load_dataset(dags.dataset)
    on_topics = stack.broker.record_count((contracts.topic, contracts.replay_topic))
    if lake.records() < on_topics:
        _wait_for_verdicts(lake, on_topics, on_topics, dags)
    return lake.verdicts()


def _send(airflow: AirflowClient, dags: _Dags) -> dict[str, Any]:
    params = {"source": Source.TELCO.value, "file": TELCO.name, "count": None, **FAULTS}
    run = airflow.trigger(dags.producer, params)
    page = airflow.run_page(dags.producer, run)
    say(f"{dags.producer}: the Telco table and {FAULTS} ({page})")
    wait_until(lambda: airflow.state(dags.producer, run) in FINISHED, _PRODUCER_SECONDS, dags.producer)
    sent: dict[str, Any] | None = airflow.result(dags.producer, run, "produce")
    if airflow.state(dags.producer, run) == "failed" or sent is None:
        raise ServiceUnavailable(f"{dags.producer} failed; its log: {page}")
    say(f"{dags.producer}: sent {sent['sent']:,}, acknowledged {sent['acked']:,}, failed {sent['failed']:,}")
    return sent


def _wait_for_verdicts(lake: LakeView, records: int, new: int, dags: _Dags) -> None:
    def progress() -> str:
        done = max(0, new - records + lake.records())
        return f"{dags.streaming}: {done:,} of {new:,} records have a verdict"

    try:
        # The ledger is written last: with it, silver and quarantine are complete too.
        wait_until(lambda: lake.balance().read >= records, _STREAM_SECONDS, dags.streaming, progress)
    except ServiceUnavailable as error:
        raise StreamError(
            f"{error}; see `make logs s=spark-worker` and the DAG {dags.streaming} in Airflow"
        ) from error
    say(progress())


def _publish(airflow: AirflowClient, dags: _Dags) -> tuple[str, str]:
    run = airflow.trigger(dags.gold)  # waits its turn when the hour's run is under way
    say(f"{dags.gold}: {airflow.run_page(dags.gold, run)}")

    def progress() -> str:
        tasks = [
            f"{task.task_id} {task.state}"
            for task in airflow.tasks(dags.gold, run)
            if task.state not in _UNTOLD
        ]
        return f"{dags.gold}: {', '.join(tasks) or 'queued'}"

    def end() -> str | None:
        state = airflow.state(dags.gold, run)
        if state in FINISHED:
            return state
        asked = [task for task in airflow.tasks(dags.gold, run) if task.task_id == _QUESTION]
        return _WAITING if asked and asked[0].state in _ASKING else None

    try:
        wait_until(lambda: end() is not None, _GOLD_SECONDS, dags.gold, progress)
    except ServiceUnavailable as error:
        raise GoldError(f"{error}; {airflow.run_page(dags.gold, run)} says why") from error
    say(progress())
    return run, str(end())
