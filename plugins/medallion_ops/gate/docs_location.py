"""Where the Data Docs of a set are, for those who write them and those who link to them."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

PAGE_PREFIX = "/medallion"
"""Where the page is, below Airflow's address."""
DOCS_FOLDER = "data-docs"
"""Where the page has the Data Docs."""


def dataset_folder(dataset: str) -> str:
    """Folder of a dataset's site below the Data Docs folder."""
    return dataset


def run_name(set_id: int) -> str:
    """How the pages name a set."""
    return f"set-{set_id}"


def docs_address(airflow_url: str | None) -> str | None:
    """Where the page in Airflow serves the Data Docs, behind its login; None without Airflow's address."""
    return f"{airflow_url.rstrip('/')}{PAGE_PREFIX}/{DOCS_FOLDER}" if airflow_url else None


def page(dataset: str, table: str, set_id: int, written_at: datetime) -> str:
    """Address of a table's page, relative to the Data Docs address; `written_at` is the manifest's time."""
    moment = written_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    parts = (dataset_folder(dataset), "validations", table, run_name(set_id), moment, f"{table}.html")
    return "/".join(quote(part) for part in parts)
