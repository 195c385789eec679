"""What the control files in the lake say of a dataset's stream."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from medallion_ops.lake_settings import LakeSettings
from medallion_ops.monitor.observation import StreamObservation
from medallion_ops.streaming.decision import mailable_error
from medallion_store.control_files import control_files
from medallion_store.heartbeat import WORKING, heartbeat_age, is_sign_of_life
from medallion_store.lake_paths import LakePaths
from medallion_store.stop_request import stop_request_of
from medallion_store.stream_failure import failure_of
from medallion_store.utc_time import age_seconds


def stream_view(lake: LakeSettings, paths: LakePaths, now: datetime) -> StreamObservation:
    """Heartbeat, batch under way, stop request and failure of a stream.

    Args:
        lake: of the platform.
        paths: of the dataset.
        now: UTC.

    Raises:
        ServiceUnavailable: the lake does not answer.
    """
    files = control_files(lake.login)
    heartbeat, failure = files.read(paths.heartbeat) or {}, failure_of(files.read(paths.failure))
    stop = stop_request_of(files.read(paths.stop_request))
    is_stopped = stop is not None and stop.is_standing
    working = heartbeat.get("state") == WORKING
    is_fresh = is_sign_of_life(heartbeat, now)
    return StreamObservation(
        # A driver that said that it ends, and that no one asked to, is as silent as one that was killed.
        heartbeat_age=heartbeat_age(heartbeat, now) if is_stopped else age_seconds(heartbeat.get("at"), now),
        state=heartbeat.get("state"),
        batch_age=age_seconds(heartbeat.get("batch_started_at"), now) if working else None,
        batch_idle=heartbeat.get("idle_seconds") if working else None,
        stop_request_age=(age_seconds(stop.at, now) or 0.0) if stop and is_stopped else None,
        stop_requested_by=stop.owner if stop and is_stopped else None,
        warnings=tuple(str(one) for one in heartbeat.get("warnings") or ()) if is_fresh else (),
        held_back=_held_back(heartbeat) if is_fresh else 0,
        held_back_age=age_seconds(heartbeat.get("held_back_since"), now) if is_fresh else None,
        has_other_log=files.read(paths.other_log) is not None,
        failure=mailable_error(failure.error) if failure and failure.is_standing else None,
        failure_kind=failure.kind if failure and failure.is_standing else None,
    )


def _held_back(heartbeat: Mapping[str, Any]) -> int:
    """Offsets that open transactions keep from being read."""
    held = (heartbeat.get("held_back") or {}).values()
    return sum(int(one["end_offset"]) - int(one["last_stable_offset"]) for one in held)
