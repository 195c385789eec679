"""How each dataset's stream stands, for `make status`: from the lake and the broker, not from Airflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from medallion_contracts.errors import MedallionError
from medallion_contracts.loader import load_dataset
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.monitor.kafka_view import backlog
from medallion_ops.monitor.lag import with_lag
from medallion_ops.monitor.lake_view import LedgerNews, ledger_news
from medallion_ops.monitor.observation import StreamObservation
from medallion_ops.monitor.problem import span
from medallion_ops.monitor.stream_view import stream_view
from medallion_ops.settings import Settings
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths

_NEWEST = 2**62
"""Later than any micro-batch: only the newest row of the ledger is read."""


def stream_lines(environ: Mapping[str, str], *, is_up: bool, broker_runs: bool) -> Iterator[str]:
    """A header, and a line for each dataset.

    Args:
        environ: the settings of the platform.
        is_up: whether anything of the stack runs; what a stream said last is no news otherwise.
        broker_runs: whether the broker can be asked for what waits.
    """
    yield f"{'stream':<22} {'state':<10} {'heartbeat':>10} {'batch age':>10} {'lag':>10}  last batch"
    settings = Settings.from_environment(environ)
    for name in datasets_that_run(environ):
        try:
            yield from _lines(settings, name, is_up=is_up, broker_runs=broker_runs)
        except MedallionError as error:
            yield f"{name:<22} {str(error).splitlines()[0]}"


def _lines(settings: Settings, name: str, *, is_up: bool, broker_runs: bool) -> Iterator[str]:
    now, dataset, paths = datetime.now(UTC), load_dataset(name), LakePaths(settings.lake.uri, name)
    news = ledger_news(paths.ledger, delta_storage_options(settings.lake.login), _NEWEST)
    if not is_up:
        yield f"{name:<22} {'stack is down':<42}  {_last_batch(news, now)}"
        return
    stream = stream_view(settings.lake, paths, now)
    if broker_runs:
        topics = (dataset.topic, dataset.replay_topic)
        waiting = backlog(settings.kafka, topics, news.offsets or {}, news.committed_at)
        stream = with_lag(stream, waiting, now, has_batches=news.offsets is not None)
    lag = "-" if stream.backlog_records is None else f"{stream.backlog_records:,}"
    yield (
        f"{name:<22} {_state(stream):<10} {_age(stream.heartbeat_age):>10} {_age(stream.batch_age):>10} "
        f"{lag:>10}  {_last_batch(news, now)}"
    )
    # What it warns of itself, such as an open transaction: nothing behind it is read.
    yield from (f"  {warning}" for warning in stream.warnings)


def _state(stream: StreamObservation) -> str:
    if stream.failure is not None:
        return "FAILED"
    if stream.stop_request_age is not None:
        return "stopped"
    return stream.state or "-"


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else span(max(0.0, seconds))


def _last_batch(news: LedgerNews, now: datetime) -> str:
    if news.last is None or news.committed_at is None:
        return "none yet"
    ago, seconds = _age((now - news.committed_at).total_seconds()), news.last["duration_seconds"] or 0.0
    return f"{news.sequence}: {news.last['read']:,} records in {seconds:.1f} s, {ago} ago"
