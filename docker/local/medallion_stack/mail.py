"""A mail server that delivers nothing: every mail ends in a Maildir folder."""

from __future__ import annotations

import smtplib
from dataclasses import dataclass
from pathlib import Path

from medallion_stack.environment import base_environment
from medallion_stack.layout import VENV
from medallion_stack.ports import LOOPBACK
from medallion_stack.process import Service


@dataclass(frozen=True)
class MailSink:
    """An SMTP server without login on loopback, and the Maildir it fills."""

    folder: Path
    port: int

    def service(self, *, dies_with_parent: bool = False) -> Service:
        """How to run it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        listen = f"{LOOPBACK}:{self.port}"
        handler = "aiosmtpd.handlers.Mailbox"
        return Service(
            name="mail",
            command=[
                str(VENV / "bin/python"),
                "-m",
                "aiosmtpd",
                "-n",
                "-l",
                listen,
                "-c",
                handler,
                str(self.folder),
            ],
            environment=base_environment(),
            is_ready=self._is_ready,
            ready_on=listen,
            dies_with_parent=dies_with_parent,
        )

    def _is_ready(self) -> bool:
        with smtplib.SMTP(LOOPBACK, self.port, timeout=2) as client:
            return client.noop()[0] == 250
