"""Whether the running stream has the contracts and the code that Airflow has."""

from __future__ import annotations

from medallion_ops.lake_settings import LakeSettings
from medallion_store.control_files import control_files
from medallion_store.heartbeat import is_sign_of_life
from medallion_store.lake_paths import LakePaths
from medallion_store.release import refuse_other_stream


def refuse_stream_of_other_release(lake: LakeSettings, dataset: str) -> None:
    """Refuse to work beside a living stream of another release; one that does not run is no obstacle.

    Raises:
        ReleaseMismatch: names both releases, and the command that brings one to all.
        ServiceUnavailable: the lake does not answer.
    """
    heartbeat = control_files(lake.login).read(LakePaths(lake.uri, dataset).heartbeat)
    if is_sign_of_life(heartbeat):
        refuse_other_stream(heartbeat, dataset)
