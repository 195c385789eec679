"""What one run of the streaming job was asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from medallion_contracts.errors import ParameterError


@dataclass(frozen=True)
class StreamOptions:
    """Arguments of the job, checked together.

    `lateness` is `judge` or `accept`, `deduplicate` is `versions` or `latest`, `on_data_loss` is `fail` or
    `count`; `submission` is repeated in the heartbeat.
    """

    trigger_seconds: float = 60
    watermark_minutes: float = 10
    max_offsets_per_trigger: int = 250_000
    lateness: str = "judge"
    deduplicate: str = "versions"
    reject_unknown_fields: bool = False
    on_data_loss: str = "fail"
    submission: str | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.trigger_seconds < 0:
            problems.append(f"--trigger-seconds is {self.trigger_seconds}: 0 or more")
        if self.watermark_minutes < 0:
            problems.append(f"--watermark-minutes is {self.watermark_minutes}: 0 or more")
        if self.max_offsets_per_trigger < 1:
            problems.append(f"--max-offsets-per-trigger is {self.max_offsets_per_trigger}: 1 or more")
        if problems:
            raise ParameterError("the stream cannot start", problems)

    @property
    def allowed_lateness(self) -> timedelta:
        """How far behind the watermark an event may be."""
        return timedelta(minutes=self.watermark_minutes)
