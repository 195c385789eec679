"""How long things may take: the limits of tasks and runs, overridable by settings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from medallion_ops import setting_fields as f

_minutes = partial(f.whole_number, at_least=1, at_most=100_000)


@dataclass(frozen=True)
class LimitSettings(f.Section):
    """Limits after which a task or a run fails instead of waiting any longer."""

    TITLE: ClassVar[str] = "Limits"

    step_minutes: int = f.setting(
        "LIMIT_STEP_MINUTES",
        _minutes,
        "longest try of a task that only asks, counts, mails or submits",
        default="15",
    )
    job_minutes: int = f.setting(
        "LIMIT_JOB_MINUTES",
        _minutes,
        "longest try of a task that works through an increment: write, audit, publish",
        default="120",
        example="240",
    )
    history_minutes: int = f.setting(
        "LIMIT_HISTORY_MINUTES",
        _minutes,
        "longest try of a task that works through all that is there: rebuild, maintenance",
        default="1440",
    )
    wait_minutes: int = f.setting(
        "LIMIT_WAIT_MINUTES",
        _minutes,
        "longest wait for the stream: for its verdicts, or for its end before a rebuild",
        default="45",
        example="120",
    )
    run_minutes: int = f.setting(
        "LIMIT_RUN_MINUTES",
        _minutes,
        "longest run of a DAG over all tasks and retries; a rebuild may take its own tries longer",
        default="1440",
    )
    producer_minutes: int = f.setting(
        "LIMIT_PRODUCER_MINUTES",
        _minutes,
        "a producer run without an acknowledged record for so long fails; how long it runs is not limited",
        default="5",
    )
