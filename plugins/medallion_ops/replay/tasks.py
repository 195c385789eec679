"""The steps of a replay run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from medallion_contracts.errors import ParameterError
from medallion_contracts.loader import load_dataset
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.lake_settings import LakeSettings
from medallion_ops.replay.records import Quarantine, Selection, judged_of_try, origin_of, outcome

log = logging.getLogger(__name__)
_CLOCKS = timedelta(days=1)
_MOST_NAMED = 100
"""Most records that a run's report names one by one."""


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


def send_rows(dataset: str, params: Mapping[str, Any], run_id: str, attempt: int) -> dict[str, Any]:
    """Send the open rows to the replay topic.

    A retry leaves out what the stream has accepted meanwhile, and sends the others again: the stream finds
    repeats. So every row that any try has sent has a verdict once all of the last try have one. A record that
    is larger than the topic takes is reported by its coordinates, and the rest goes.

    Args:
        dataset: The dataset.
        params: The run's parameters.
        run_id: The run.
        attempt: Which try of the task this is.

    Returns:
        `sent`, how many the broker has; `attempt`; `too_large`, coordinates of some that it does not take.

    Raises:
        ServiceUnavailable: The broker does not answer, or did not acknowledge a record.
    """
    from medallion_ops.producer.raw import send_raw

    records = _quarantine(dataset).records(selection(params), run_id, attempt)
    topic = load_dataset(dataset).replay_topic
    too_large: list[str] = []
    counts = send_raw(
        KafkaSettings.from_environment(),
        topic,
        records,
        on_too_large=lambda record: too_large.append(origin_of(record)),
    )
    log.info("sent %s, acked %s", counts.sent, counts.acked)
    named = sorted(too_large)[:_MOST_NAMED]
    if too_large:
        log.warning(
            "%s records are larger than the topic %s takes and stay in quarantine: %s%s; raise its "
            "max.message.bytes and replay them again",
            len(too_large),
            topic,
            ", ".join(named),
            ", ..." if len(too_large) > len(named) else "",
        )
    return {"sent": counts.acked, "attempt": attempt, "too_large": named}


def verdicts(dataset: str, run_id: str, sent: Mapping[str, Any], since: datetime) -> dict[str, Any] | None:
    """What became of the records of all tries of a run, or None while the stream has not judged all.

    Args:
        dataset: The dataset.
        run_id: The run.
        sent: What `send_rows` gave, of its last try.
        since: When the run was made, UTC. Bronze's day may be the one before: of a batch that was planned
            before midnight, or by the clock of another machine.
    """
    judged = list(_quarantine(dataset).judged(since=since.date() - _CLOCKS))
    done = judged_of_try(judged, run_id, sent["attempt"])
    result = outcome(judged, run_id)
    log.info("judged %s of %s: %s", done, sent["sent"], result)
    if done < sent["sent"]:
        return None
    return {**result, "too_large": list(sent.get("too_large", ()))}


def _quarantine(dataset: str) -> Quarantine:
    return Quarantine(LakeSettings.from_environment(), load_dataset(dataset))
