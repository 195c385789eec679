"""The steps of a replay run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from medallion_contracts.errors import ParameterError
from medallion_contracts.loader import load_dataset
from medallion_ops.replay.records import Quarantine, Selection, outcome
from medallion_ops.settings import KafkaSettings, LakeSettings

log = logging.getLogger(__name__)


def selection(params: Mapping[str, Any]) -> Selection:
    """The rows that a run's parameters name.

    Raises:
        ParameterError: A time is none, or the range is empty; lists all problems.
    """
    problems: list[str] = []
    since, until = (_moment(params, name, problems) for name in ("from", "to"))
    if since is not None and until is not None and since >= until:
        problems.append(f"from ({since.isoformat()}) must be before to ({until.isoformat()})")
    if problems:
        raise ParameterError("the replay's parameters are not valid", problems)
    return Selection(frozenset(params.get("reasons") or ()), since, until)


def _moment(params: Mapping[str, Any], name: str, problems: list[str]) -> datetime | None:
    text = params.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        problems.append(f"{name}: is no ISO 8601 time, such as 2026-11-28T12:00:00Z")
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def count_rows(dataset: str, params: Mapping[str, Any]) -> dict[str, int]:
    """Open quarantine rows of the selection, by reason.

    Raises:
        ParameterError: The parameters are not valid.
    """
    wanted = selection(params)
    counts = _quarantine(dataset).count(wanted)
    log.info("open rows: %s", counts)
    return counts


def send_rows(dataset: str, params: Mapping[str, Any], run_id: str) -> int:
    """Send the open rows to the replay topic; gives how many.

    A retry leaves out what the stream has accepted meanwhile, and sends the others again: the stream finds
    repeats.

    Raises:
        ServiceUnavailable: The broker does not answer, or did not acknowledge a record.
    """
    from medallion_ops.producer.raw import send_raw

    records = _quarantine(dataset).records(selection(params), run_id)
    counts = send_raw(KafkaSettings.from_environment(), load_dataset(dataset).replay_topic, records)
    log.info("sent %s, acked %s", counts.sent, counts.acked)
    return counts.acked


def verdicts(dataset: str, run_id: str, sent: int, since: datetime) -> dict[str, Any] | None:
    """What became of the run's records, or None while the stream has not judged all of them."""
    result = outcome(_quarantine(dataset).judged(since=since.date()), run_id)
    log.info("judged %s of %s: %s", result["judged"], sent, result)
    return result if result["judged"] >= sent else None


def _quarantine(dataset: str) -> Quarantine:
    return Quarantine(LakeSettings.from_environment(), load_dataset(dataset))
