"""A mail a day to an address of its own: the proof that alerts would arrive.

Crash points: a canary is in Postgres before it is handed over; one whose hand-over was not noted is handed
over again with the same Message-ID.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING

from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.alerts import smtp
from medallion_ops.alerts.alert import Alert, Level
from medallion_ops.alerts.mail import message, render
from medallion_ops.settings import Settings

if TYPE_CHECKING:
    import psycopg

INTERVAL = timedelta(days=1)
ARRIVES_WITHIN = timedelta(minutes=5)
"""What the server and the way into the mailbox may take before people are notified."""
TRY_AGAIN_AFTER = timedelta(minutes=3)
KEPT = timedelta(days=90)
_MOST_FILES, _HEAD_BYTES = 500, 16_384
Deliver = Callable[[EmailMessage, Sequence[str]], Mapping[str, str]]


@dataclass(frozen=True)
class Canary:
    """A row of audit.canaries; times are UTC."""

    message_id: str
    sent_at: datetime
    tried_at: datetime
    accepted_at: datetime | None = None
    shown_at: datetime | None = None
    last_error: str | None = None

    def has_arrived(self, maildir: Path | None) -> bool:
        """Whether it proved as much as can be proved."""
        return self.accepted_at is not None and (maildir is None or self.shown_at is not None)


def canary_problem(
    connection: psycopg.Connection, settings: Settings, now: datetime, deliver: Deliver = smtp.deliver
) -> str | None:
    """Send the day's canary if it is due and check that it arrived; returns what is wrong with the mail path.

    Args:
        connection: to gold, as the writer; committed before and after the hand-over.
        settings: of the platform.
        now: UTC.
        deliver: hands a mail to the mail server.
    """
    to, maildir = settings.monitor.canary_to, settings.monitor.canary_maildir
    if to is None:
        return None
    known = _newest(connection)
    if not known or (known[0].accepted_at and abs(now - known[0].sent_at) >= INTERVAL):
        known.insert(0, Canary(_message_of(settings, to, now)["Message-ID"], now, now))
        newest = _tried(connection, known[0], settings, now, deliver)
    elif known[0].accepted_at is None and now - known[0].tried_at >= TRY_AGAIN_AFTER:
        newest = _tried(connection, known[0], settings, now, deliver)
    else:
        newest = known[0]
    if newest.accepted_at and maildir and newest.shown_at is None and is_in(maildir, newest):
        newest = replace(newest, shown_at=now)
        _keep(connection, newest)
    # Before a new one has had its time, the one before it says how things are.
    is_young = now - newest.sent_at <= ARRIVES_WITHIN
    judged = known[1] if is_young and len(known) > 1 else newest
    if newest.has_arrived(maildir) or judged.has_arrived(maildir) or (judged is newest and is_young):
        return None
    if newest.accepted_at is None:
        return f"the mail server did not take the daily canary mail to {to}: {newest.last_error}"
    return f"the daily canary mail to {to} was taken by the mail server, but is not in {maildir}"


def _newest(connection: psycopg.Connection) -> list[Canary]:
    rows = connection.execute(
        "SELECT message_id, sent_at, tried_at, accepted_at, shown_at, last_error FROM audit.canaries "
        "ORDER BY canary_id DESC LIMIT 2"
    )
    return [Canary(*row) for row in rows]


def _tried(
    connection: psycopg.Connection, canary: Canary, settings: Settings, now: datetime, deliver: Deliver
) -> Canary:
    to = settings.monitor.canary_to or ""
    _keep(connection, replace(canary, tried_at=now))
    connection.execute("DELETE FROM audit.canaries WHERE sent_at < %s", [now - KEPT])
    connection.commit()
    try:
        refused = deliver(_message_of(settings, to, canary.sent_at), [to])
        error = f"it refused the recipient ({refused[to]})" if to in refused else None
    except ServiceUnavailable as unavailable:
        error = str(unavailable)
    tried = replace(canary, tried_at=now, accepted_at=None if error else now, last_error=error)
    _keep(connection, tried)
    connection.commit()
    return tried


def _message_of(settings: Settings, to: str, sent_at: datetime) -> EmailMessage:
    alert = Alert(
        f"canary of {sent_at:%Y-%m-%d}",
        ["This mail proves that alerts of the platform reach a mailbox. Nothing is wrong."],
        level=Level.RESOLVED,
        key=f"canary {to} {sent_at.isoformat()}",
    )
    return message(render(alert), settings.alerts.sender, [to])


def _keep(connection: psycopg.Connection, one: Canary) -> None:
    connection.execute(
        "INSERT INTO audit.canaries (message_id, sent_at, tried_at, accepted_at, shown_at, last_error) "
        "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (message_id) DO UPDATE SET "
        "tried_at = excluded.tried_at, accepted_at = excluded.accepted_at, "
        "shown_at = excluded.shown_at, last_error = excluded.last_error",
        [one.message_id, one.sent_at, one.tried_at, one.accepted_at, one.shown_at, one.last_error],
    )


def is_in(maildir: Path, canary: Canary) -> bool:
    """Whether a canary is among the newest mails of a Maildir.

    Args:
        maildir: with `new` and `cur`; one that cannot be read holds nothing.
        canary: which.
    """
    wanted = canary.message_id.encode()
    found = []
    for folder in (maildir / "new", maildir / "cur"):
        try:
            found += [(entry.stat().st_mtime, entry.path) for entry in os.scandir(folder)]
        except OSError:
            continue
    for _, path in sorted(found, reverse=True)[:_MOST_FILES]:
        try:
            with Path(path).open("rb") as file:
                if wanted in file.read(_HEAD_BYTES):
                    return True
        except OSError:
            continue  # read and moved meanwhile
    return False
