"""The parts of the page, each loaded on its own: what cannot be read is named, the rest is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from medallion_contracts.errors import ContractError
from medallion_contracts.loader import load_dataset
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.gate.docs_location import DOCS_FOLDER
from medallion_ops.gate.docs_location import page as docs_page
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.monitor.limits import ServiceLevels, service_levels
from medallion_ops.monitor.runbook import sections
from medallion_ops.monitor.settings import MonitorSettings
from medallion_ops.page import queries
from medallion_ops.page.cards import LOOK_IS_OLD_SECONDS, cards
from medallion_ops.page.database import Reading

Context = dict[str, Any]


def _levels(dataset: str) -> ServiceLevels:
    overrides = dict(MonitorSettings.from_environment().service_levels)
    try:
        return service_levels(load_dataset(dataset), overrides)
    except ContractError:
        return ServiceLevels()  # the monitor has an incident of it; the other datasets are shown


def overview(reading: Reading) -> Context:
    """The cards of every dataset."""
    samples, hours = queries.newest_samples(reading), queries.last_hour(reading)
    written, counted = queries.gold_last_hour(reading), queries.table_rows(reading)
    blocked = queries.blocked_since(reading)
    shown = []
    for name in datasets_that_run():
        counts = {
            (row["layer"], row["table_name"]): (row["row_count"], row["counted_at"])
            for row in counted
            if row["dataset"] == name
        }
        hour = {
            (layer, layer): hours[name][layer]
            for layer in ("bronze", "silver", "quarantine")
            if name in hours
        }
        hour |= {("gold", table): rows for (of, table), rows in written.items() if of == name}
        levels, sample = _levels(name), samples.get(name)
        shown.append(
            {
                "name": name,
                "sample": sample,
                "is_old": sample is None or sample["age"] > LOOK_IS_OLD_SECONDS,
                "has_levels": not levels.is_empty,
                "cards": cards(levels, sample, counts, hour, blocked.get(name)),
            }
        )
    return {"datasets": shown}


@cache
def runbook() -> dict[str, Any]:
    """The runbook's paragraphs as HTML, by code; under "" what stands before them."""
    from markdown_it import MarkdownIt

    as_html = MarkdownIt("commonmark", {"html": False})
    return {code: as_html.render(text) for code, text in sections().items()}


def incidents(reading: Reading) -> Context:
    """Incidents and planned maintenance."""
    found = queries.incidents(reading)
    return {
        "opened": [one for one in found if one["closed_at"] is None],
        "closed": [one for one in found if one["closed_at"] is not None],
        "windows": queries.maintenance_windows(reading),
        "datasets": datasets_that_run(),
    }


def batches(reading: Reading) -> Context:
    """The last micro-batches of every dataset."""
    return _each(lambda name: {"batches": queries.micro_batches(reading, name)})


def quarantine(reading: Reading) -> Context:
    """Reasons of the last day, and masked examples."""
    return _each(
        lambda name: {
            "reasons": queries.quarantine_reasons(reading, name),
            "samples": queries.quarantine_samples(reading, name),
        }
    )


def gate(reading: Reading) -> Context:
    """The gate's results over time, with links to the Data Docs."""
    has_docs = GoldSettings.from_environment().data_docs_dir is not None

    def of(name: str) -> Context:
        rows = queries.gate_results(reading, name)
        for row in rows:
            address = docs_page(name, row["table_name"], row["set_id"], row["created_at"])
            row["docs"] = f"{DOCS_FOLDER}/{address}" if has_docs else None
        return {"results": rows}

    return _each(of)


def publications(reading: Reading) -> Context:
    """Publications and what people decided."""
    return _each(
        lambda name: {
            "publications": queries.publications(reading, name),
            "decisions": queries.decisions(reading, name),
        }
    )


def _each(of: Callable[[str], Context]) -> Context:
    return {"datasets": [{"name": name} | of(name) for name in datasets_that_run()]}


PARTS: Mapping[str, tuple[str, Callable[[Reading], Context]]] = {
    "incidents": ("Incidents", incidents),
    "overview": ("Layers", overview),
    "batches": ("Micro-batches", batches),
    "quarantine": ("Quarantine", quarantine),
    "gate": ("Gate", gate),
    "publications": ("Publications", publications),
}
"""Title and content by name, in the order of the page."""

HOURS = 24


def chart(reading: Reading, dataset: str) -> Context:
    """Lag and throughput of the last day, as columns of a chart.

    Args:
        reading: of gold.
        dataset: its name.
    """
    rows = queries.samples(reading, dataset, HOURS)
    names = ("at", "rate", "backlog_age", "latency_p95", "backlog_records", "pending_age")
    return {name: [row[name] for row in rows] for name in names}
