"""Where people find a run of gold: its DAG, the question it asks, and the Data Docs of its set."""

from __future__ import annotations

from collections.abc import Mapping

from medallion_ops.alerts.mail import task_link
from medallion_ops.alerts.settings import AlertSettings
from medallion_ops.gate.docs_location import docs_address, page
from medallion_ops.gate.verdict import Verdict
from medallion_ops.gold_settings import GoldSettings
from medallion_store.manifests import Manifest

DECIDE = "decide"
"""Task id of the question to a person; mails link to it."""


def dag_id(dataset: str) -> str:
    """The DAG that publishes a dataset."""
    return f"{dataset}_gold"


def decision_links(written: Manifest, verdict: Verdict) -> Mapping[str, str]:
    """Addresses for whoever has to decide."""
    return links_of_set(GoldSettings.from_environment(), AlertSettings.from_environment(), written, verdict)


def links_of_set(
    settings: GoldSettings, alerts: AlertSettings, written: Manifest, verdict: Verdict
) -> dict[str, str]:
    """Addresses of a set's run, of the question about it, and of the Data Docs that show its failures.

    Args:
        settings: those of gold, for the Data Docs.
        alerts: those of alerts, for Airflow's address.
        written: the set.
        verdict: the gate's verdict on it.
    """
    links: dict[str, str] = {}
    run = task_link(alerts, dag_id(written.dataset), written.run_id)
    question = task_link(alerts, dag_id(written.dataset), written.run_id, DECIDE)
    if run and question:
        links["Airflow run"] = run
        if not verdict.passed:
            links["Decide in Airflow"] = f"{question}/required_actions"
    docs = settings.data_docs_url or docs_address(alerts.airflow_url)
    if docs and settings.data_docs_dir:
        for table in sorted({finding.table for finding in verdict.failed}):
            address = page(written.dataset, table, written.set_id, written.created_at)
            links[f"Data Docs of {table}"] = f"{docs.rstrip('/')}/{address}"
    return links
