"""The watcher outside Airflow as a service of the stack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from medallion_ops.watch.state import FILE, FOLDER
from medallion_ops.watch.watcher import CHECK_SECONDS
from medallion_stack.layout import VENV
from medallion_stack.process import Service


def watcher_service(environment: Mapping[str, str], outbox: Path, supervisor: Path) -> Service:
    """How to run it.

    Args:
        environment: Airflow's, with the settings and the connection to the mail server.
        outbox: MEDALLION_ALERT_OUTBOX.
        supervisor: the stack's note of its supervisor.
    """
    state = outbox / FOLDER / FILE

    def has_checked() -> bool:
        checked_at = datetime.fromisoformat(json.loads(state.read_text())["checked_at"])
        return abs((datetime.now(UTC) - checked_at).total_seconds()) < 2 * CHECK_SECONDS

    return Service(
        name="watcher",
        command=[str(VENV / "bin/python"), "-m", "medallion_ops.watch", "--supervisor", str(supervisor)],
        environment=environment,
        is_ready=has_checked,
        ready_on="-",
    )
