"""A mail as text and HTML, and sending it.

Everything put into a mail is untrusted text (messages of exceptions, names of files): it is escaped here, and
never becomes a header line.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any
from urllib.parse import quote, urlsplit

from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.settings import AlertSettings

CONNECTION = "smtp_default"
PREFIX = "[medallion]"
LONGEST_SUBJECT = 150


@dataclass(frozen=True)
class Mail:
    """A message with the same content as text and as HTML."""

    subject: str
    text: str
    html: str


def compose(subject: str, lead: str, facts: Mapping[str, str], links: Mapping[str, str]) -> Mail:
    """A short mail: one paragraph, a table of facts, and links (label to address)."""
    text = [lead, "", *(f"{name}: {value}" for name, value in facts.items())]
    text += ["", *(f"{label}: {address}" for label, address in links.items())]
    rows = "".join(
        f"<tr><th align='left' valign='top'>{html.escape(name)}</th>"
        f"<td><pre>{html.escape(value)}</pre></td></tr>"
        for name, value in facts.items()
    )
    return Mail(
        subject=f"{PREFIX} {subject}",
        text="\n".join(text).rstrip() + "\n",
        html=f"<p>{html.escape(lead)}</p><table>{rows}</table>{_anchors(links)}",
    )


def _anchors(links: Mapping[str, str]) -> str:
    anchors = [
        f"<li><a href='{html.escape(address, quote=True)}'>{html.escape(label)}</a></li>"
        for label, address in links.items()
        if urlsplit(address).scheme in ("http", "https")
    ]
    return f"<ul>{''.join(anchors)}</ul>" if anchors else ""


def task_link(alerts: AlertSettings, dag_id: str, run_id: str, task_id: str | None = None) -> str | None:
    """The address of a run, or of a task in it, in Airflow's UI; None when Airflow's address is not set."""
    if alerts.airflow_url is None:
        return None
    link = f"{alerts.airflow_url}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"
    return link if task_id is None else f"{link}/tasks/{quote(task_id, safe='')}"


def message(mail: Mail, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """The mail as it goes over the wire."""
    email = EmailMessage()
    email["Subject"] = " ".join(mail.subject.split())[:LONGEST_SUBJECT]
    email["From"] = sender
    email["To"] = ", ".join(recipients)
    email.set_content(mail.text)
    email.add_alternative(mail.html, subtype="html")
    return email


def send(mail: Mail, alerts: AlertSettings | None = None) -> None:
    """Send a mail to the recipients of alerts.

    Raises:
        ServiceUnavailable: The mail server does not answer or refuses the mail.
        SettingsError: The settings of alerts are not valid.
    """
    alerts = alerts or AlertSettings.from_environment()
    email = message(mail, alerts.sender, alerts.to)
    try:
        with _hook() as hook:
            hook.send(email)
    except Exception as error:
        # smtplib's errors may quote the login; the class says enough.
        raise ServiceUnavailable(
            f"the mail '{mail.subject}' could not be sent ({type(error).__name__}): check the Airflow "
            f"connection {CONNECTION} (AIRFLOW_CONN_SMTP_DEFAULT) and the mail server behind it"
        ) from error


def _hook() -> Any:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    class Hook(SmtpHook):
        """Sends a whole message: the provider's own method knows HTML only."""

        def send(self, email: EmailMessage) -> None:
            client: Any = self._smtp_client
            client.send_message(email)

    return Hook(smtp_conn_id=CONNECTION)
