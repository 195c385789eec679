"""The paragraphs on what to do about each kind of incident, and the links that lead there."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from medallion_ops.alerts.settings import AlertSettings
from medallion_ops.gate.docs_location import PAGE_PREFIX
from medallion_ops.monitor.settings import MonitorSettings

PAGE = f"{PAGE_PREFIX}/runbook"
"""Where Airflow serves them, behind its login."""
_HEADING = re.compile(r"^## (\w+)$", re.MULTILINE)


@cache
def runbook() -> str:
    """All paragraphs, as Markdown."""
    return resources.files("medallion_ops.monitor").joinpath("runbook.md").read_text()


def sections() -> dict[str, str]:
    """The paragraph of each code, as Markdown without its heading; under "" what stands before them."""
    first, *rest = _HEADING.split(runbook())
    return {"": first.strip()} | dict(zip(rest[::2], map(str.strip, rest[1::2]), strict=True))


def plain(code: str) -> str:
    """A paragraph as plain text, for a mail that is read while Airflow cannot serve it."""
    return "\n".join(line for line in sections()[code].splitlines() if not line.startswith("```"))


def incident_links(alerts: AlertSettings, monitor: MonitorSettings, code: str) -> dict[str, str]:
    """The links of an incident's mail, label to address.

    Args:
        alerts: hold Airflow's address.
        monitor: hold the runbook's address, if it is elsewhere.
        code: of the incident; "{code}" for a template.
    """
    links = {}
    page = monitor.runbook_url or (f"{alerts.airflow_url}{PAGE}" if alerts.airflow_url else None)
    if page:
        links["What to do"] = f"{page}#{code}"
    if alerts.airflow_url:
        links["Medallion in Airflow"] = f"{alerts.airflow_url}{PAGE_PREFIX}/"
    return links
