"""The platform's numbers in Prometheus' format. Names and labels are a promise: dashboards use them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medallion_contracts.errors import MedallionError
from medallion_ops.page import queries
from medallion_ops.page.database import Reading, reading

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

GAUGES = {
    "up": ("1 when Postgres answered, 0 when not: then there is no other number", ()),
    "table_rows": ("Rows of a table when it was last counted", ("dataset", "layer", "table")),
    "look_age_seconds": ("Age of the monitor's last look", ("dataset",)),
    "heartbeat_age_seconds": ("Age of the stream's last heartbeat", ("dataset",)),
    "backlog_records": ("Records in Kafka that are not in the ledger", ("dataset",)),
    "backlog_age_seconds": ("Age of the oldest record in Kafka that is not in the ledger", ("dataset",)),
    "latency_p95_seconds": ("Kafka to silver, 95th percentile of the last micro-batch", ("dataset",)),
    "gold_pending_age_seconds": ("Age of the oldest silver commit that gold does not show", ("dataset",)),
    "records_last_hour": ("Records of the last hour by layer", ("dataset", "layer")),
    "open_incidents": ("Open incidents by code and level", ("dataset", "code", "level")),
    "last_publication_timestamp_seconds": ("When gold was published last, Unix time", ("dataset",)),
    "gate_failed_expectations": (
        "Expectations that failed in the newest judged set",
        ("dataset", "severity"),
    ),
}
"""Every gauge by name (`medallion_...`): what it is, its labels."""

_OF_SAMPLE = {
    "look_age_seconds": "age",
    "heartbeat_age_seconds": "heartbeat_age",
    "backlog_records": "backlog_records",
    "backlog_age_seconds": "backlog_age",
    "latency_p95_seconds": "latency_p95",
    "gold_pending_age_seconds": "pending_age",
}


def exposition() -> bytes:
    """All numbers as Prometheus reads them; with Postgres away just `medallion_up 0`."""
    from prometheus_client import CollectorRegistry, generate_latest

    try:
        with reading() as gold:
            families = _families(gold)
    except MedallionError:
        families = _empty()
        families["up"].add_metric([], 0)

    class Found:
        def collect(self) -> Iterator[GaugeMetricFamily]:
            yield from families.values()

    registry = CollectorRegistry()
    registry.register(Found())
    return generate_latest(registry)


def _empty() -> dict[str, GaugeMetricFamily]:
    from prometheus_client.core import GaugeMetricFamily

    return {
        name: GaugeMetricFamily(f"medallion_{name}", text, labels=list(labels))
        for name, (text, labels) in GAUGES.items()
    }


def _families(gold: Reading) -> dict[str, GaugeMetricFamily]:
    found = _empty()
    found["up"].add_metric([], 1)
    for row in queries.table_rows(gold):
        labels = [row["dataset"], row["layer"], row["table_name"]]
        found["table_rows"].add_metric(labels, row["row_count"])
    for dataset, sample in queries.newest_samples(gold).items():
        for name, column in _OF_SAMPLE.items():
            if sample[column] is not None:
                found[name].add_metric([dataset], sample[column])
    for dataset, hour in queries.last_hour(gold).items():
        for layer in ("bronze", "silver", "quarantine"):
            found["records_last_hour"].add_metric([dataset, layer], hour[layer])
    for row in queries.open_incidents(gold):
        labels = [row["dataset"], row["code"], row["level"]]
        found["open_incidents"].add_metric(labels, row["incidents"])
    for row in queries.last_published(gold):
        found["last_publication_timestamp_seconds"].add_metric([row["dataset"]], row["at"])
    for row in queries.failed_expectations(gold):
        found["gate_failed_expectations"].add_metric([row["dataset"], row["severity"]], row["failed"])
    return found
