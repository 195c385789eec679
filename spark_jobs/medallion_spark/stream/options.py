"""What one run of the streaming job was asked to do."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import timedelta

from medallion_contracts.errors import ParameterError


@dataclass(frozen=True)
class StreamOptions:
    """Arguments of the job, checked together.

    `lateness` is `judge` or `accept`, `deduplicate` is `versions` or `latest`, `on_data_loss` is `fail` or
    `count`; `submission` is repeated in the heartbeat; `release` is that of whoever submits.
    """

    trigger_seconds: float = 60
    watermark_minutes: float = 10
    max_offsets_per_trigger: int = 250_000
    lateness: str = "judge"
    deduplicate: str = "versions"
    reject_unknown_fields: bool = False
    on_data_loss: str = "fail"
    batch_hang_minutes: float = 10
    recover_from_ledger: bool = False
    submission: str | None = None
    release: str | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.trigger_seconds < 0:
            problems.append(f"--trigger-seconds is {self.trigger_seconds}: 0 or more")
        if self.watermark_minutes < 0:
            problems.append(f"--watermark-minutes is {self.watermark_minutes}: 0 or more")
        if self.max_offsets_per_trigger < 1:
            problems.append(f"--max-offsets-per-trigger is {self.max_offsets_per_trigger}: 1 or more")
        if self.batch_hang_minutes <= 0:
            problems.append(f"--batch-hang-minutes is {self.batch_hang_minutes}: more than 0")
        if problems:
            raise ParameterError("the stream cannot start", problems)

    @property
    def allowed_lateness(self) -> timedelta:
        """How far behind the watermark an event may be."""
        return timedelta(minutes=self.watermark_minutes)


def add_verdict_arguments(group: argparse._ArgumentGroup) -> None:
    """The arguments that decide what becomes of a record."""
    defaults = StreamOptions()
    group.add_argument(
        "--watermark-minutes",
        type=float,
        default=defaults.watermark_minutes,
        help="how far an event may be behind the newest one of its Kafka partition (default: %(default)s)",
    )
    group.add_argument(
        "--lateness",
        choices=("judge", "accept"),
        default=defaults.lateness,
        help="accept: no event is late, for loading history (default: %(default)s)",
    )
    group.add_argument(
        "--deduplicate",
        choices=("versions", "latest"),
        default=defaults.deduplicate,
        help="versions: keep every distinct version; latest: the newest of an entity in each micro-batch "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--reject-unknown-fields", action="store_true", help="reject records with fields the contract lacks"
    )
