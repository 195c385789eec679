"""The streaming driver's heartbeat: what it says, how often, and when it no longer is a sign of life.

The driver writes it, Airflow and the monitor read it. Fields, beside the state of the stream: `at`,
`submission`, `driver_id`, `application_id`, `batch_id`; and of its progress: `batch_started_at`,
`batch_age_seconds`, `last_task_at` (when a Spark task last finished), `idle_seconds` (for how long nothing at
all has moved while there was work to do).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from medallion_store.utc_time import age_seconds

HEARTBEAT_SECONDS = 15
"""Between two heartbeats."""
HEARTBEAT_STALE_SECONDS = 60
"""How long a heartbeat is a sign of life."""

STARTING, WAITING, WORKING = "starting", "waiting", "working"
STOPPED, ENDED, HANGING = "stopped", "ended", "hanging"
"""What a driver's last heartbeat says: it stopped as asked, ended otherwise, or ended itself as it hung."""
LAST_STATES = (STOPPED, ENDED, HANGING)


def heartbeat_age(heartbeat: Mapping[str, Any] | None, now: datetime | None = None) -> float | None:
    """How old a driver's sign of life is.

    Args:
        heartbeat: the content of the heartbeat's file.
        now: if not this moment.

    Returns:
        Seconds; None when there is none, or the driver said that it ends.
    """
    if heartbeat is None or heartbeat.get("state") in LAST_STATES:
        return None
    return age_seconds(heartbeat.get("at"), now)


def is_sign_of_life(heartbeat: Mapping[str, Any] | None, now: datetime | None = None) -> bool:
    """Whether a driver lives, by its last heartbeat.

    Args:
        heartbeat: the content of the heartbeat's file.
        now: if not this moment.
    """
    age = heartbeat_age(heartbeat, now)
    return age is not None and age <= HEARTBEAT_STALE_SECONDS
