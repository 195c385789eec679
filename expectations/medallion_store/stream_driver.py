"""Which driver on the cluster runs a dataset's stream: `stream_driver.json`, written by Airflow.

A driver reads it when it starts: one whose submission is not the one in the file is an orphan (its submitter
had no answer and submitted another) and ends itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from medallion_store.utc_time import age_seconds, parse_utc


@dataclass(frozen=True)
class Submission:
    """The content of the file. Times are ISO 8601, UTC.

    Args:
        token: of the submission; its driver repeats it in its heartbeat.
        requested_at: when the cluster was asked.
        driver_id: the cluster's answer; None before it came.
        ended_at: when the end was reported.
        failures: ends in a row that came soon.
        recovers: whether the driver was asked to go on from the ledger.
        after_stop: id of the last stop request that was made before; any other one is meant for this driver.
        previous_driver_id: the driver before this one.
        reported_hang: when the last hang of a batch was that was reported.
    """

    token: str
    requested_at: str
    driver_id: str | None = None
    ended_at: str | None = None
    failures: int = 0
    recovers: bool = False
    after_stop: str | None = None
    previous_driver_id: str | None = None
    reported_hang: str | None = None

    def is_of(self, token: str | None) -> bool:
        """Whether a driver with this token is the one to run (without a token: a person started it)."""
        return token is None or (self.token == token and self.ended_at is None)

    def has_to_report(self, hang_at: object) -> bool:
        """Whether a hang at this time was one of this submission's drivers, and was not reported."""
        age = age_seconds(hang_at, parse_utc(self.requested_at))
        return age is not None and age < 0 and hang_at != self.reported_hang


def submission_of(content: Mapping[str, Any] | None) -> Submission | None:
    """The submission in a file's content; None when there is none.

    Releases share the file while one is rolled out: unknown fields are left out, missing ones have defaults.
    """
    if content is None or "token" not in content or "requested_at" not in content:
        return None
    known = {field.name for field in fields(Submission)}
    return Submission(**{name: value for name, value in content.items() if name in known})
