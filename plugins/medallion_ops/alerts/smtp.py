"""Hands a mail to the mail server, through Airflow's SMTP provider and its connection `smtp_default`."""

from __future__ import annotations

import smtplib
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import Any

from medallion_contracts.errors import ServiceUnavailable

CONNECTION = "smtp_default"


def deliver(email: EmailMessage, recipients: Sequence[str]) -> Mapping[str, str]:
    """Hand a mail to the mail server.

    Args:
        email: with all its headers.
        recipients: who gets this delivery; a second one may be for those who were refused at first.

    Returns:
        recipients that the server refused, with its answer; the others have the mail.

    Raises:
        ServiceUnavailable: the server does not answer, or takes no mail now; names its answer.
    """
    try:
        with _hook() as hook:
            refused: dict[str, str] = hook.deliver(email, recipients)
            return refused
    except smtplib.SMTPRecipientsRefused as refused:
        return _answers(refused.recipients)
    except smtplib.SMTPResponseException as error:
        raise _unavailable(email, f"it answered {error.smtp_code}") from None
    except Exception as error:
        # smtplib's and the provider's messages may quote the login; the class says enough.
        raise _unavailable(email, type(error).__name__) from None


def _answers(refused: Mapping[str, tuple[int, bytes]]) -> dict[str, str]:
    # The code only: a server's text may quote anything.
    return {recipient: str(answer[0]) for recipient, answer in refused.items()}


def _unavailable(email: EmailMessage, reason: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"the mail '{email['Subject']}' could not be sent ({reason}): check the Airflow connection "
        f"{CONNECTION} (AIRFLOW_CONN_SMTP_DEFAULT) and the mail server behind it"
    )


def _hook() -> Any:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    class Hook(SmtpHook):
        """Sends a whole message: the provider's own method knows HTML only."""

        def deliver(self, email: EmailMessage, recipients: Sequence[str]) -> dict[str, str]:
            client: Any = self._smtp_client
            return _answers(client.send_message(email, to_addrs=list(recipients)))

    return Hook(smtp_conn_id=CONNECTION)
