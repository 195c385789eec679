"""An alert as a mail: text and HTML with the same content, one column, readable on a phone of 380 px."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from medallion_ops.alerts.alert import Alert
from medallion_ops.alerts.settings import AlertSettings

if TYPE_CHECKING:
    from jinja2 import Environment

PREFIX = "[medallion]"
LONGEST_SUBJECT = 150


@dataclass(frozen=True)
class Mail:
    """A message with the same content as text and as HTML; `key` as in Alert."""

    subject: str
    text: str
    html: str
    key: str | None = None


def printable(text: str) -> str:
    """Untrusted text with every character that does not print replaced: line breaks, direction marks."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _printable_lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())


def render(alert: Alert) -> Mail:
    """The alert as a mail."""
    links = {
        label: address
        for label, address in alert.links.items()
        if urlsplit(address).scheme in ("http", "https")
    }
    subject = f"{PREFIX} {alert.subject}"
    values: dict[str, Any] = {"alert": alert, "links": links, "subject": subject}
    return Mail(
        subject=subject,
        text=_templates().get_template("alert.txt.j2").render(values).strip() + "\n",
        html=_templates().get_template("alert.html.j2").render(values),
        key=alert.key,
    )


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("medallion_ops.alerts"),
        autoescape=select_autoescape(enabled_extensions=("html", "html.j2"), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    environment.filters["printable_lines"] = _printable_lines
    return environment


def message(mail: Mail, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """The mail as it goes over the wire, with its own Date and Message-ID.

    Args:
        mail: what it says.
        sender: address of the platform.
        recipients: addresses.
    """
    email = EmailMessage()
    email["Subject"] = " ".join(mail.subject.split())[:LONGEST_SUBJECT]
    email["From"] = sender
    email["To"] = ", ".join(recipients)
    email["Date"] = format_datetime(datetime.now(UTC))
    email["Message-ID"] = _message_id(mail.key, sender.rpartition("@")[2])
    # Vacation replies to an alert help no one.
    email["Auto-Submitted"] = "auto-generated"
    email.set_content(mail.text)
    email.add_alternative(mail.html, subtype="html")
    return email


def _message_id(key: str | None, domain: str) -> str:
    if key is None:
        return make_msgid(domain=domain)
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{domain}>"


def task_link(alerts: AlertSettings, dag_id: str, run_id: str, task_id: str | None = None) -> str | None:
    """The address of a run, or of a task in it, in Airflow's UI; None when Airflow's address is not set.

    Args:
        alerts: hold Airflow's address.
        dag_id: of the DAG.
        run_id: of the run.
        task_id: of the task; None for the run's page.
    """
    if alerts.airflow_url is None:
        return None
    link = f"{alerts.airflow_url}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"
    return link if task_id is None else f"{link}/tasks/{quote(task_id, safe='')}"
