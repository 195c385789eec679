"""Sends alerts by every channel; what a channel does not take is kept and sent later."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from email import message_from_string, policy
from email.message import EmailMessage
from enum import StrEnum
from typing import TYPE_CHECKING

from medallion_contracts.errors import MedallionError, ServiceUnavailable
from medallion_ops.alerts import outbox, smtp, webhook
from medallion_ops.alerts.alert import Alert
from medallion_ops.alerts.mail import message, render
from medallion_ops.alerts.outbox import Channel, Entry
from medallion_ops.alerts.settings import AlertSettings
from medallion_ops.gold_settings import GoldSettings

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)


class Delivery(StrEnum):
    """What became of an alert."""

    SENT = "sent"
    KEPT = "kept"


def send(alert: Alert, alerts: AlertSettings | None = None) -> Delivery:
    """Send an alert to everyone who gets alerts.

    A mail server that is away fails no task: the alert is kept and sent once the server is back.

    Args:
        alert: what to say.
        alerts: who gets it; None for the environment's settings.

    Raises:
        ServiceUnavailable: a channel did not take it, and it could not be kept either.
        SettingsError: the settings of alerts are not valid.
    """
    alerts = alerts or AlertSettings.from_environment()
    outcomes = [_try(entry, alerts) for entry in entries(alert, alerts)]
    return Delivery.KEPT if Delivery.KEPT in outcomes else Delivery.SENT


def entries(alert: Alert, alerts: AlertSettings) -> list[Entry]:
    """The alert for each channel, as the outbox keeps it.

    Args:
        alert: what to say.
        alerts: who gets it, and by which channels.
    """
    email = message(render(alert), alerts.sender, alerts.to)
    made = [Entry(str(email["Message-ID"]), Channel.MAIL, alerts.to, email.as_string(), "")]
    if alerts.webhook is not None:
        content = json.dumps(webhook.body(alert, alerts.webhook_format))
        made.append(Entry(str(email["Message-ID"]), Channel.WEBHOOK, (), content, ""))
    return made


def _try(entry: Entry, alerts: AlertSettings) -> Delivery:
    try:
        refused = deliver(entry, alerts)
    except ServiceUnavailable as error:
        _keep(entry, entry.recipients, str(error), alerts)
        return Delivery.KEPT
    if refused:
        log.error("the mail server refused recipients of an alert: %s", dict(refused))
        _keep(entry, tuple(refused), f"refused: {dict(refused)}", alerts)
        return Delivery.KEPT
    return Delivery.SENT


def _keep(entry: Entry, recipients: tuple[str, ...], error: str, alerts: AlertSettings) -> None:
    kept = Entry(entry.message_id, entry.channel, recipients, entry.content, error)
    try:
        where = outbox.keep_somewhere(_gold, alerts.outbox, kept)
    except (MedallionError, OSError) as cause:
        raise ServiceUnavailable(
            f"{error}; it could not be kept for later either ({cause}): set MEDALLION_ALERT_OUTBOX"
        ) from None
    log.error("%s; it is kept in %s and sent later", error, where)


def _gold() -> AbstractContextManager[psycopg.Connection]:
    from medallion_store.postgres import gold_connection

    return gold_connection(GoldSettings.from_environment().dsn)


def deliver(entry: Entry, alerts: AlertSettings) -> Mapping[str, str]:
    """Hand one entry over; gives the recipients who were refused, with the answer.

    Args:
        entry: a mail or a webhook's content.
        alerts: hold the webhook's address.

    Raises:
        ServiceUnavailable: the channel does not answer.
    """
    if entry.channel is Channel.MAIL:
        email = message_from_string(entry.content, policy=policy.default)
        assert isinstance(email, EmailMessage)  # noqa: S101  # by that policy
        return smtp.deliver(email, entry.recipients)
    if alerts.webhook is not None:  # else it was taken out of the settings meanwhile
        webhook.post(alerts.webhook.reveal(), json.loads(entry.content))
    return {}


def send_waiting(alerts: AlertSettings | None = None, *, seconds: float = 30) -> int:
    """Try again what channels did not take; gives how many alerts are out.

    Args:
        alerts: None for the environment's settings.
        seconds: no further alert is begun after this long.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    settings = alerts or AlertSettings.from_environment()
    with _gold() as connection:
        outbox.adopt_files(connection, settings.outbox)
        return outbox.deliver_waiting(connection, lambda entry: deliver(entry, settings), seconds=seconds)
