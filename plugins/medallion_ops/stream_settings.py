"""How the streaming job cuts and judges what it reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from medallion_ops import setting_fields as f


@dataclass(frozen=True)
class StreamSettings(f.Section):
    """Rules of the streaming job."""

    TITLE: ClassVar[str] = "Stream"
    PER_DATASET: ClassVar[bool] = True

    trigger_seconds: int = f.setting(
        "TRIGGER_SECONDS",
        partial(f.whole_number, at_least=1, at_most=3600),
        "seconds between micro-batches",
        default="60",
        example="5",
    )
    watermark_minutes: int = f.setting(
        "WATERMARK_MINUTES",
        partial(f.whole_number, at_least=0, at_most=525_600),
        "how far behind the newest event of its partition an event may be",
        default="10",
        example="60",
    )
    max_offsets_per_trigger: int | None = f.setting(
        "MAX_OFFSETS_PER_TRIGGER",
        partial(f.whole_number, at_least=1, at_most=1_000_000_000),
        "largest micro-batch, in records (the job has its own default)",
        example="250000",
    )
    lateness: str = f.setting(
        "LATENESS",
        partial(f.choice, of=("judge", "accept")),
        "judge, or accept: no event is late (for loading history)",
        default="judge",
        example="accept",
    )
    deduplicate: str = f.setting(
        "DEDUPLICATE",
        partial(f.choice, of=("versions", "latest")),
        "versions keeps each distinct version, latest one per customer and micro-batch",
        default="versions",
        example="latest",
    )
    on_data_loss: str = f.setting(
        "ON_DATA_LOSS",
        partial(f.choice, of=("fail", "count")),
        "fail stops the stream at records that the broker no longer has; count goes on and tells how many",
        default="fail",
        example="count",
    )
    batch_hang_minutes: int = f.setting(
        "BATCH_HANG_MINUTES",
        partial(f.whole_number, at_least=1, at_most=1440),
        "minutes without a finished Spark task after which a micro-batch hangs: its driver ends, and another "
        "takes the batch up",
        default="10",
        example="30",
    )
    reject_unknown_fields: bool = f.setting(
        "REJECT_UNKNOWN_FIELDS",
        f.flag,
        "whether a field that the contract does not know rejects the event",
        default="false",
        example="true",
    )
