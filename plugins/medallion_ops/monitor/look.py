"""One look at the platform: observe, judge, record, notify.

Every part is asked on its own and may fail on its own: what does not answer becomes an observation, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from medallion_contracts.errors import MedallionError
from medallion_contracts.loader import load_dataset
from medallion_contracts.model import Dataset
from medallion_ops.alerts import outbox
from medallion_ops.alerts.sending import entries, send_waiting
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.gate.decision import DECISION_MINUTES, waits_since
from medallion_ops.migrations.readers import unreadable
from medallion_ops.migrations.runner import ensure_migrated
from medallion_ops.monitor import host_view, incidents, lake_facts, samples
from medallion_ops.monitor.airflow_view import AirflowView, airflow_view
from medallion_ops.monitor.canary import canary_problem
from medallion_ops.monitor.expiry_view import expiries
from medallion_ops.monitor.kafka_view import backlog, topic_states
from medallion_ops.monitor.label_view import label_problem
from medallion_ops.monitor.lag import with_lag
from medallion_ops.monitor.lake_view import LedgerNews, ledger_news, oldest_pending
from medallion_ops.monitor.limits import Limits, service_levels
from medallion_ops.monitor.observation import (
    Counts,
    DatasetObservation,
    GoldObservation,
    Observation,
    StreamObservation,
)
from medallion_ops.monitor.problem import Problem
from medallion_ops.monitor.rules import problems
from medallion_ops.monitor.runbook import incident_links
from medallion_ops.monitor.stream_view import stream_view
from medallion_ops.settings import Settings
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths
from medallion_store.postgres import gold_connection
from medallion_store.publications import last_publication

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

SEND_SECONDS = 5


@dataclass
class _Unreachable:
    """Collects what did not answer."""

    reasons: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part of the look that may fail on its own."""
        try:
            yield
        except MedallionError as error:
            self.reasons.setdefault(name, str(error).splitlines()[0])
            log.warning("%s: %s", name, error)


def look(settings: Settings, now: datetime | None = None) -> list[Problem]:
    """Look at everything once; gives the problems found.

    Args:
        settings: of the platform.
        now: UTC; None for the clock's time.

    Raises:
        ServiceUnavailable: Postgres does not answer: incidents cannot be kept, the watcher outside Airflow
            notifies people of that.
    """
    now = now or datetime.now(UTC)
    failed = _Unreachable()
    names = datasets_that_run()
    known, datasets = [], []
    for name in names:
        with failed.part(f"the contracts of {name}"):
            known.append(load_dataset(name))
    ensure_migrated(settings.gold.dsn, known)
    airflow: AirflowView | None = None
    with failed.part("Airflow's API"):
        airflow = airflow_view(_must_run(names), [f"{name}_gold" for name in names])
    with gold_connection(settings.gold.dsn) as connection:
        for dataset in known:
            datasets.append(_observe(connection, settings, dataset, airflow, failed, now))
            connection.commit()
        _, oldest = outbox.waiting(connection)
        mail_path = canary_problem(connection, settings, now)
    seen = Observation(
        now=now,
        datasets=tuple(datasets),
        paused_dags=airflow.paused if airflow else (),
        disks=host_view.disks(host_view.watched_folders(settings)),
        expiries=expiries(settings),
        outbox_age=oldest,
        mail_path_problem=mail_path,
        unreachable=failed.reasons,
    )
    found = problems(seen, _limits(settings, known))
    links = incident_links(settings.alerts, settings.monitor, "{code}")
    with gold_connection(settings.gold.dsn) as connection:
        for alert in incidents.record_look(connection, found, now, links):
            for entry in entries(alert, settings.alerts):
                outbox.keep(connection, entry)
    send_waiting(settings.alerts, seconds=SEND_SECONDS)
    return found


def _limits(settings: Settings, datasets: Sequence[Dataset]) -> Limits:
    overrides = dict(settings.monitor.service_levels)
    levels = {one.name: service_levels(one, overrides) for one in datasets}
    for name, level in levels.items():
        if level.is_empty:
            log.warning("the contracts of %s declare no service levels: only failures are noticed", name)
    return Limits(levels, settings.monitor)


def _must_run(names: tuple[str, ...]) -> list[str]:
    kinds = ("streaming", "gold")
    return [*(f"{name}_{kind}" for name in names for kind in kinds), "lake_maintenance", "platform_monitor"]


def _observe(
    connection: psycopg.Connection,
    settings: Settings,
    dataset: Dataset,
    airflow: AirflowView | None,
    failed: _Unreachable,
    now: datetime,
) -> DatasetObservation:
    paths, storage = LakePaths(settings.lake.uri, dataset.name), delta_storage_options(settings.lake.login)
    after = samples.last_sequence(connection, dataset.name)
    news, stream = LedgerNews(), StreamObservation()
    with failed.part("the lake"):
        stream = stream_view(settings.lake, paths, now)
        news = ledger_news(paths.ledger, storage, after)
    with failed.part("Kafka"):
        waiting = backlog(
            settings.kafka, (dataset.topic, dataset.replay_topic), news.offsets or {}, news.committed_at
        )
        stream = with_lag(stream, waiting, now, has_batches=news.offsets is not None)
        topics = topic_states(settings.kafka, (dataset.topic, dataset.replay_topic))
        stream = replace(stream, topics=topics)
    silence = (now - news.committed_at).total_seconds() if news.committed_at else None
    stream = replace(stream, latency_p95=news.latency_p95, silence=silence)
    gold = _gold(connection, dataset, airflow, now)
    with failed.part("the lake"):
        last = last_publication(connection, dataset.name)
        pending = oldest_pending(paths.silver, storage, last.to_version if last else None)
        gold = replace(gold, pending_age=(now - pending).total_seconds() if pending else 0.0)
    gold = replace(gold, label_source_problem=label_problem(connection, settings, dataset.name))
    # A first look has no past to count as news: a year of losses is no incident of today.
    new = news.counts if after is not None else Counts()
    seen = DatasetObservation(dataset.name, stream, gold)
    samples.record(connection, seen, now, news.sequence or after, news.batches, new)
    with failed.part("the lake"):
        _keep_facts(connection, dataset, paths, storage, news, now)
    recent = samples.sums(connection, dataset.name, now - samples.RECENT, now)
    usual = samples.sums(connection, dataset.name, now - samples.DAY, now - samples.RECENT)
    return replace(seen, stream=replace(stream, recent=recent, last_day=usual))


def _keep_facts(
    connection: psycopg.Connection,
    dataset: Dataset,
    paths: LakePaths,
    storage: Mapping[str, str],
    news: LedgerNews,
    now: datetime,
) -> None:
    lake_facts.record_batches(connection, dataset.name, news.rows, now)
    lake_facts.record_gold_rows(connection, dataset, now)
    lake_facts.record_lake_rows(connection, paths, storage, now)
    if news.counts.rejected or news.counts.late:
        lake_facts.record_samples(connection, dataset, paths, storage)


def _gold(
    connection: psycopg.Connection, dataset: Dataset, airflow: AirflowView | None, now: datetime
) -> GoldObservation:
    question, dag_id = waits_since(connection, dataset.name, now), f"{dataset.name}_gold"
    age = (now - question).total_seconds() if question else None
    started = airflow.running_since.get(dag_id) if airflow else None
    return GoldObservation(
        # A run that waits for a person does not hang.
        run_age=(now - started).total_seconds() if started and question is None else None,
        question_age=age,
        question_minutes_left=None if age is None else DECISION_MINUTES - age / 60,
        failed_runs=airflow.failed_in_a_row.get(dag_id) if airflow else None,
        unreadable=tuple(unreadable(connection, dataset)),
    )


def describe(found: list[Problem]) -> dict[str, Any]:
    """The summary of a look for the task's log and XCom: codes only, no text from data."""
    return {
        "datasets": list(datasets_that_run()),
        "problems": sorted({f"{one.dataset}:{one.code}" if one.dataset else one.code for one in found}),
    }
