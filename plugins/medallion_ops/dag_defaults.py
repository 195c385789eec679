"""What all DAGs of the platform share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from medallion_ops.alerts.failures import mail_failure

OWNER = "data-platform"
START = datetime(2026, 1, 1, tzinfo=UTC)
TAG = "medallion"

DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    # A service that restarts is back within a minute or two; what is wrong for longer is a person's matter.
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
    "on_failure_callback": [mail_failure],
}
