"""What an alert says, apart from how it is shown and sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Level(StrEnum):
    """How urgent an alert is; it gives the color of a mail and the severity of a webhook."""

    CRITICAL = "critical"
    WARNING = "warning"
    RESOLVED = "resolved"


@dataclass(frozen=True)
class Detail:
    """One thing that an alert lists, such as an expectation that failed; `lines` are shown as they are."""

    level: Level
    title: str
    label: str
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Alert:
    """A message to the people who run the platform.

    Everything in it is untrusted text (exception messages, names of files): it is escaped where it is shown.

    Args:
        subject: one line; the prefix of the platform is added.
        happened: paragraphs that say what happened.
        level: how urgent it is.
        since: when it began, UTC; None where that is the time of the alert itself.
        meaning: what it means for the data.
        first_step: what to do first.
        facts: name to value, short.
        details: what is listed.
        notes: paragraphs after that.
        links: label to address; only web addresses can be followed.
        key: the same key gives the same Message-ID, so that a mail sent twice after a crash is shown once.
    """

    subject: str
    happened: Sequence[str]
    level: Level = Level.CRITICAL
    since: datetime | None = None
    meaning: str = ""
    first_step: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    details: Sequence[Detail] = ()
    notes: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
