"""A mail server spoken to without Airflow, from the same connection that Airflow reads."""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from medallion_contracts.errors import ServiceUnavailable
from medallion_store.secret import Secret

LONGEST_TIMEOUT_SECONDS = 10
_DEFAULT_TIMEOUT_SECONDS = 30  # the provider's


@dataclass(frozen=True)
class MailServer:
    """Where mails are handed over, with the meaning that Airflow's SMTP provider gives each part."""

    host: str
    port: int = 0
    login: str | None = None
    password: Secret | None = None
    uses_ssl: bool = True
    uses_starttls: bool = True
    checks_certificate: bool = True
    timeout: float = LONGEST_TIMEOUT_SECONDS

    @classmethod
    def parse(cls, connection: str) -> MailServer:
        """The server of an Airflow connection, written as JSON or as a URI.

        Args:
            connection: as AIRFLOW_CONN_SMTP_DEFAULT has it.

        Raises:
            ValueError: it is neither, or asks for what cannot be done here; never repeats the text.
        """
        try:
            parts = _of_json(connection) if connection.lstrip().startswith("{") else _of_uri(connection)
            extra = parts["extra"]
            port, timeout = int(parts["port"] or 0), float(extra.get("timeout", _DEFAULT_TIMEOUT_SECONDS))
        except (ValueError, TypeError, AttributeError):
            raise ValueError("must be a connection of Airflow, as JSON or URI") from None
        if not parts["host"]:
            raise ValueError("must name the host of the mail server")
        if extra.get("auth_type", "basic") != "basic":
            raise ValueError("must log in by password, or not at all: only Airflow itself fetches tokens")
        return cls(
            host=parts["host"],
            port=port,
            login=parts["login"],
            password=Secret(parts["password"]) if parts["password"] else None,
            uses_ssl=not extra.get("disable_ssl", False),
            uses_starttls=not extra.get("disable_tls", False),
            checks_certificate=extra.get("ssl_context") != "none",
            timeout=min(timeout, LONGEST_TIMEOUT_SECONDS),
        )

    def deliver(self, email: EmailMessage, recipients: Sequence[str]) -> Mapping[str, str]:
        """Hand a mail over; gives the recipients who were refused, with the answer's code.

        Args:
            email: with all its headers.
            recipients: who gets it.

        Raises:
            ServiceUnavailable: the server does not answer, or takes no mail now.
        """
        try:
            with self._client() as client:
                refused = client.send_message(email, to_addrs=list(recipients))
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        except smtplib.SMTPResponseException as error:
            raise self._unavailable(f"it answered {error.smtp_code}") from None
        except (OSError, smtplib.SMTPException) as error:
            # Messages may quote the login; the class says enough.
            raise self._unavailable(type(error).__name__) from None
        return {recipient: str(answer[0]) for recipient, answer in refused.items()}

    def _client(self) -> smtplib.SMTP:
        context = ssl.create_default_context() if self.checks_certificate else None
        client: smtplib.SMTP
        if self.uses_ssl:
            client = smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=context)
        else:
            client = smtplib.SMTP(self.host, self.port, timeout=self.timeout)
        try:
            if self.uses_starttls and not self.uses_ssl:
                client.starttls(context=context)
            if self.login and self.password:
                client.login(self.login, self.password.reveal())
        except BaseException:
            client.close()
            raise
        return client

    def _unavailable(self, reason: str) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"the mail server at {self.host} took no mail ({reason}): check it, and the connection "
            "smtp_default (AIRFLOW_CONN_SMTP_DEFAULT, or MEDALLION_WATCH_SMTP)"
        )


def _of_json(text: str) -> dict[str, Any]:
    given = json.loads(text)
    extra = given.get("extra") or {}
    parts = {name: given.get(name) for name in ("host", "port", "login", "password")}
    return {**parts, "extra": json.loads(extra) if isinstance(extra, str) else extra}


def _of_uri(text: str) -> dict[str, Any]:
    uri = urlsplit(text)
    query = dict(parse_qsl(uri.query, keep_blank_values=True))
    extra = json.loads(query["__extra__"]) if "__extra__" in query else _read(query)
    return {
        "host": unquote(uri.hostname or ""),
        "port": uri.port,
        "login": unquote(uri.username) if uri.username else None,
        "password": unquote(uri.password) if uri.password else None,
        "extra": extra,
    }


def _read(query: Mapping[str, str]) -> dict[str, Any]:
    """Options as Airflow reads them: JSON where they are JSON, else text."""
    found: dict[str, Any] = {}
    for name, value in query.items():
        try:
            found[name] = json.loads(value) if value else value
        except ValueError:
            found[name] = value
    return found
