"""Every error a person may see, in one tree.

A message names what is wrong, where, and what to do about it. Errors that can find several problems at
once carry all of them. Messages never hold a secret or a customer's data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime


class MedallionError(Exception):
    """Root of the tree: an entry point prints its text and exits with 1; anything else is a defect."""


class _Problems(MedallionError):
    """An error that lists every problem it found."""

    def __init__(self, subject: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([f"{subject}:", *(f"  - {problem}" for problem in self.problems)]))


class ContractError(_Problems):
    """A contract file cannot be read, or says something the compilers cannot honour."""


class SettingsError(_Problems):
    """The environment lacks a setting or holds one that is not valid."""


class ParameterError(_Problems):
    """Arguments of a command or parameters of a DAG run are not valid."""


class SourceError(_Problems):
    """A producer source (file or table) cannot be read, or holds rows that are no events."""


class ServiceUnavailable(MedallionError):
    """A broker, database, cluster or mail server does not answer; names the address and the setting."""


class SubmissionUnknown(ServiceUnavailable):
    """The cluster was asked to start a driver and did not answer: it may have started one."""


class StreamError(MedallionError):
    """The streaming job must stop: going on would lose, repeat or hide records."""


class RecordsLost(StreamError):
    """The broker no longer has records that were never read; names their offsets and how many they are."""


class BalanceError(StreamError):
    """The counts of a micro-batch do not add up; the checkpoint has not moved."""


class OtherLogError(StreamError):
    """A topic's name leads to another log than the one that was read: offsets mean something else there.

    `logs` say which log is there now, as the control files name it.
    """

    def __init__(self, message: str, logs: Iterable[Mapping[str, object]] = ()) -> None:
        self.logs = tuple(logs)
        super().__init__(message)


class MissingTopic(StreamError):
    """A topic that was read is not on the broker any more."""


class StreamEnded(StreamError):
    """The streaming driver ended, or stood still, and no one had asked it to.

    `since` is when its trouble was first known, `kind` the class of the error that it left, where known.
    """

    def __init__(self, message: str, since: datetime | None = None, kind: str | None = None) -> None:
        self.since = since
        self.kind = kind
        super().__init__(message)


class MissingTable(StreamError):
    """A lake table is gone while others of its dataset hold rows; nothing was created in its place."""


class DamagedLog(StreamError):
    """A commit file of a lake table's log is cut short: names the file, and how to mend it."""


class LeaseError(StreamError):
    """Another writer holds the silver table."""


class GoldError(MedallionError):
    """Writing, auditing or publishing gold cannot go on; gold is unchanged."""


class StaleStaging(GoldError):
    """Staging no longer is what its manifest says: write again."""


class MigrationError(_Problems):
    """The gold database cannot be brought forward without losing something; nothing was changed."""


class MissingProgram(_Problems):
    """The machine lacks programs the local stack needs; names the command that installs each."""


class ReleaseMismatch(MedallionError):
    """Two parts of the platform run other contracts or code; names the command that brings one to all."""


class BreakingChange(_Problems):
    """Contracts change what readers or producers rely on, and no one has accepted that; nothing was done."""
