"""What the watcher remembers: its troubles and the alerts that are not out, in one file, replaced whole.

Crash points: a trouble that is due for a mail and the mail itself are written together, before the mail is
handed over. So a watcher killed anywhere neither loses a mail nor makes a second one. Killed between the
hand-over and the next write, it hands the same mail over again, with the same Message-ID, which mail programs
show once.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medallion_ops.alerts.alert import Level
from medallion_ops.alerts.outbox import Channel, Entry
from medallion_ops.monitor.problem import Problem
from medallion_ops.monitor.transitions import Notice
from medallion_ops.watch.troubles import Trouble

log = logging.getLogger(__name__)

FOLDER, FILE = "watch", "state.json"
"""Below MEDALLION_ALERT_OUTBOX, apart from the alerts that Airflow's tasks keep there."""
_TIMES = ("since", "opened_at", "closed_at", "seen_at", "mailed_at")


@dataclass(frozen=True)
class Outgoing:
    """An alert that is not out yet."""

    entry: Entry
    kept_at: datetime


@dataclass(frozen=True)
class State:
    """Everything that outlives the process. `quiet_until` is the end of planned work, as last heard of."""

    troubles: tuple[Trouble, ...] = ()
    outgoing: tuple[Outgoing, ...] = ()
    quiet_until: datetime | None = None
    checked_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class StateFile:
    """The file; one that cannot be written costs no mail, only what a restart would need."""

    def __init__(self, outbox: Path) -> None:
        self.path = outbox / FOLDER / FILE

    def load(self) -> State:
        """What was saved last; an unreadable file is set aside and named in the log."""
        try:
            content = json.loads(self.path.read_text())
            return State(
                tuple(_trouble(one) for one in content["troubles"]),
                tuple(Outgoing(_entry(one["entry"]), _time(one["kept_at"])) for one in content["outgoing"]),
                _time(content["quiet_until"]) if content["quiet_until"] else None,
                _time(content["checked_at"]),
            )
        except FileNotFoundError:
            return State()
        except (OSError, ValueError, TypeError, KeyError) as error:
            aside = self.path.with_suffix(".unreadable")
            log.error("%s cannot be read (%s): starting without it", self.path, type(error).__name__)
            if self.path.exists():
                self.path.replace(aside)
            return State()

    def save(self, state: State) -> None:
        """Write the state (mode 0600) and wait for the disk."""
        content = {
            "troubles": [asdict(one) for one in state.troubles],
            "outgoing": [asdict(one) for one in state.outgoing],
            "quiet_until": state.quiet_until,
            "checked_at": state.checked_at,
        }
        draft = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(content, file, default=datetime.isoformat)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            log.error("%s cannot be written: %s", self.path, error.strerror)


def _trouble(content: Mapping[str, Any]) -> Trouble:
    problem = {**content["problem"], "level": Level(content["problem"]["level"])}
    times = {name: _time(content[name]) if content[name] else None for name in _TIMES}
    mailed = None if content["mailed"] is None else Notice(content["mailed"])
    return Trouble(**{**content, **times, "problem": Problem(**problem), "mailed": mailed})


def _entry(content: Mapping[str, Any]) -> Entry:
    channel, recipients = Channel(content["channel"]), tuple(content["recipients"])
    return Entry(**{**content, "channel": channel, "recipients": recipients})


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
