"""Alerts that a mail server or webhook did not take: kept, and tried again until they are out.

They are kept in Postgres (audit.outbox), where every host sees them; while Postgres does not answer, as files
in the folder MEDALLION_ALERT_OUTBOX, which are moved to Postgres once it does.

Crash points: an entry is removed after it was delivered, so a crash in between delivers it twice, with the
same Message-ID, which mail programs show once. A file is removed after Postgres has it, under the same key.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from medallion_contracts.errors import MedallionError, ServiceUnavailable

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

GIVE_UP_AFTER = timedelta(days=3)
LONGEST_WAIT = timedelta(minutes=30)
"""Time between two attempts at most; it doubles from a minute on."""
CLAIMED_FOR = timedelta(minutes=5)
"""A process that claimed an entry and died leaves it to others after this long."""


class Channel(StrEnum):
    """Ways out of the platform."""

    MAIL = "mail"
    WEBHOOK = "webhook"


@dataclass(frozen=True)
class Entry:
    """An alert that waits: `content` is a mail as on the wire, or JSON for a webhook."""

    message_id: str
    channel: Channel
    recipients: tuple[str, ...]
    content: str
    last_error: str


Deliver = Callable[[Entry], Mapping[str, str]]
"""Hands an entry over; gives the recipients who were refused, with the answer."""


def keep(connection: psycopg.Connection, entry: Entry) -> None:
    """Keep an entry in Postgres; the same one again adds its recipients.

    Args:
        connection: to gold, as the writer.
        entry: what waits.
    """
    connection.execute(
        "INSERT INTO audit.outbox AS o (message_id, channel, recipients, content, last_error) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (message_id, channel) DO UPDATE SET "
        "recipients = ARRAY(SELECT DISTINCT unnest(o.recipients || EXCLUDED.recipients)), "
        "last_error = EXCLUDED.last_error",
        [entry.message_id, entry.channel, list(entry.recipients), entry.content, entry.last_error],
    )


def keep_as_file(folder: Path, entry: Entry) -> None:
    """Keep an entry as a file (mode 0600), replaced in one step.

    Args:
        folder: made when it is missing.
        entry: what waits.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = sha256(f"{entry.channel} {entry.message_id}".encode()).hexdigest()[:32]
    temporary = folder / f".{name}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(entry), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / f"{name}.json")


def files(folder: Path | None) -> Iterator[tuple[Path, Entry]]:
    """The entries kept as files; one that cannot be read is named in the log and left alone."""
    for path in sorted(folder.glob("*.json")) if folder else ():
        try:
            content = json.loads(path.read_text())
            yield (
                path,
                Entry(
                    **{
                        **content,
                        "channel": Channel(content["channel"]),
                        "recipients": tuple(content["recipients"]),
                    }
                ),
            )
        except FileNotFoundError:
            continue  # another process moved it
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.error("%s is not an alert that was kept (%s): remove it", path, type(error).__name__)


def adopt_files(connection: psycopg.Connection, folder: Path | None) -> int:
    """Move entries from files to Postgres; gives how many.

    Args:
        connection: to gold, as the writer; committed for each file before it is removed.
        folder: of MEDALLION_ALERT_OUTBOX; None for none.
    """
    count = 0
    for path, entry in files(folder):
        keep(connection, entry)
        connection.commit()
        path.unlink(missing_ok=True)
        count += 1
    return count


def waiting(connection: psycopg.Connection) -> tuple[int, float]:
    """How many entries wait, and for how many seconds the oldest has."""
    row = connection.execute(
        "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(kept_at)), 0) FROM audit.outbox"
    ).fetchone()
    return (int(row[0]), float(row[1])) if row else (0, 0.0)


def deliver_waiting(connection: psycopg.Connection, deliver: Deliver, *, seconds: float = 30) -> int:
    """Try again what is due; gives how many entries are out.

    A channel that does not answer is left alone until the next call: its other entries would wait for the
    same time-out.

    Args:
        connection: to gold, as the writer; each step is committed.
        deliver: hands an entry over.
        seconds: no further entry is begun after this long.
    """
    deadline, out = time.monotonic() + seconds, 0
    silent: list[str] = []
    while time.monotonic() < deadline and (claimed := _claim(connection, silent)) is not None:
        entry, attempts, is_old = claimed
        try:
            refused = deliver(entry)
        except ServiceUnavailable as error:
            silent.append(str(entry.channel))
            _postpone(connection, entry, entry.recipients, attempts, str(error))
            if is_old:
                _give_up(connection, entry, str(error))
        else:
            if not refused:
                _remove(connection, entry)
                out += 1
            elif is_old:
                _give_up(connection, entry, f"refused: {refused}")
            else:
                _postpone(connection, entry, tuple(refused), attempts, f"refused: {refused}")
    return out


def _claim(connection: psycopg.Connection, silent: Sequence[str]) -> tuple[Entry, int, bool] | None:
    row = connection.execute(
        "UPDATE audit.outbox SET attempts = attempts + 1, next_attempt_at = clock_timestamp() + %s "
        "WHERE (message_id, channel) = (SELECT message_id, channel FROM audit.outbox "
        "WHERE next_attempt_at <= clock_timestamp() AND channel <> ALL(%s) "
        "ORDER BY kept_at LIMIT 1 FOR UPDATE SKIP LOCKED) "
        "RETURNING message_id, channel, recipients, content, last_error, attempts, "
        "kept_at < clock_timestamp() - %s::interval",
        [CLAIMED_FOR, list(silent), GIVE_UP_AFTER],
    ).fetchone()
    connection.commit()
    if row is None:
        return None
    return Entry(row[0], Channel(row[1]), tuple(row[2]), row[3], row[4]), int(row[5]), bool(row[6])


def _postpone(
    connection: psycopg.Connection, entry: Entry, recipients: Sequence[str], attempts: int, error: str
) -> None:
    wait = min(LONGEST_WAIT, timedelta(minutes=2 ** min(attempts - 1, 10)))
    log.warning("an alert still waits for %s: %s", entry.channel, error)
    connection.execute(
        "UPDATE audit.outbox SET recipients = %s, last_error = %s, next_attempt_at = clock_timestamp() + %s "
        "WHERE message_id = %s AND channel = %s",
        [list(recipients), error, wait, entry.message_id, entry.channel],
    )
    connection.commit()


def _remove(connection: psycopg.Connection, entry: Entry) -> None:
    connection.execute(
        "DELETE FROM audit.outbox WHERE message_id = %s AND channel = %s", [entry.message_id, entry.channel]
    )
    connection.commit()


def _give_up(connection: psycopg.Connection, entry: Entry, error: str) -> None:
    log.error(
        "alert %s was not delivered by %s within %s and is dropped: %s",
        entry.message_id,
        entry.channel,
        GIVE_UP_AFTER,
        error,
    )
    _remove(connection, entry)


def keep_somewhere(
    connect: Callable[[], AbstractContextManager[psycopg.Connection]], folder: Path | None, entry: Entry
) -> str:
    """Keep an entry in Postgres, or as a file while Postgres does not answer; gives where.

    Args:
        connect: opens a connection to gold as a context manager that commits.
        folder: of MEDALLION_ALERT_OUTBOX; None for none.
        entry: what waits.

    Raises:
        MedallionError: neither is possible.
    """
    try:
        with connect() as connection:
            keep(connection, entry)
        return "audit.outbox"
    except MedallionError:
        if folder is None:
            raise
    keep_as_file(folder, entry)
    return str(folder)
