"""What all DAGs of the platform share: owner, retries, limits, kinds of runs, the first look of a task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from medallion_contracts.errors import ParameterError, SourceError
from medallion_ops.alerts.failures import mail_failure, mail_unfinished_run
from medallion_ops.limit_settings import LimitSettings
from medallion_ops.task_start import before_task

OWNER = "data-platform"
START = datetime(2026, 1, 1, tzinfo=UTC)
TAG = "medallion"
RETRIES = 2
"""A service that restarts is back within a minute or two; what is wrong for longer is a person's matter."""

_limits = LimitSettings.from_environment()

STEP = timedelta(minutes=_limits.step_minutes)
"""For one try of a task that only asks, counts, mails or submits: the default of every task."""
JOB = timedelta(minutes=_limits.job_minutes)
"""For one try of a task that works through an increment."""
HISTORY = timedelta(minutes=_limits.history_minutes)
"""For one try of a task that works through all that is there."""
WAIT = timedelta(minutes=_limits.wait_minutes)
"""For a wait for the stream."""
RUN = timedelta(minutes=_limits.run_minutes)
"""For a run with all its tasks and retries. Airflow then skips what has not ended, a teardown too: so the run
of a DAG with a teardown gets longer than its tasks may take before it."""
BY_PROGRESS = None
"""For what may run for ever, as long as it gets on: the stream, and a producer without an end."""

RUN_TYPES = ("scheduled", "manual", "operator_triggered", "asset_triggered", "asset_materialization")
"""All but backfills: no DAG here works through intervals of time, each goes on from the last state."""

NO_BACKFILL = """
**Backfill** is refused: a run does not belong to an hour, it takes what is new since the last one. {instead}
"""

_HOPELESS = RetryRule(
    exception=[ParameterError, SourceError],
    action=RetryAction.FAIL,
    reason="the same parameters fail the same way: a retry cannot help",
)

DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    "retries": RETRIES,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
    "retry_policy": ExceptionRetryPolicy([_HOPELESS]),
    "execution_timeout": STEP,
    "pre_execute": before_task,
    "on_failure_callback": [mail_failure],
}

DAG_RULES: dict[str, Any] = {
    "start_date": START,
    "catchup": False,
    "max_active_runs": 1,
    "default_args": DEFAULT_ARGS,
    "allowed_run_types": RUN_TYPES,
    "on_failure_callback": [mail_unfinished_run],
}
"""Arguments of every DAG; each adds its `dagrun_timeout`."""
