"""What the topics' own settings and writers do to the stream: said at start, and while it lasts."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from medallion_contracts.errors import ServiceUnavailable
from medallion_spark.stream.topic_log import BrokerLog, HeldBack, Retention, Where
from medallion_store.utc_time import utc_text

logger = logging.getLogger(__name__)

SHORT_RETENTION_MILLISECONDS = 24 * 3_600_000
"""A topic that keeps its records for less time loses some when the stream stands still for a day."""
LOOK_SECONDS = 15
"""How often the broker is asked what open transactions hold back."""


class TopicWatch:
    """Looks at the topics of a stream.

    Args:
        log: the broker's side.
        topics: that the stream reads.
    """

    def __init__(self, log: BrokerLog, topics: Sequence[str]) -> None:
        self._log = log
        self._topics = topics
        self._warnings: list[str] = []
        self._looked_at: float | None = None
        self._warned_of: dict[Where, int] = {}
        self._held_since: dict[Where, str] = {}
        self.held_back: Mapping[Where, HeldBack] = {}

    def start(self) -> None:
        """Name the topics that may remove records before they are read."""
        kept = {topic: self._log.retention(topic) for topic in self._topics}
        self._warnings = [
            text for topic, retention in kept.items() if retention for text in warnings(topic, retention)
        ]
        for text in self._warnings:
            logger.warning("%s", text)

    def look(self) -> None:
        """Ask what is held back, if the last look is long enough ago."""
        if self._looked_at is not None and time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        try:
            found = self._log.held_back(self._topics)
        except ServiceUnavailable as error:
            logger.info("what transactions hold back is not known: %s", error)
            return
        for where, now in found.items():
            before = self.held_back.get(where)
            # A transaction that goes on for a moment is nothing to speak of.
            is_stuck = before is not None and before.last_stable_offset == now.last_stable_offset
            if not is_stuck:
                self._held_since[where] = utc_text()
            if is_stuck and self._warned_of.get(where) != now.last_stable_offset:
                self._warned_of[where] = now.last_stable_offset
                logger.warning("%s", held_back_text(where, now))
        self._held_since = {where: self._held_since[where] for where in found}
        for where in self._warned_of.keys() - found.keys():
            del self._warned_of[where]
            logger.info("%s-%d: no transaction holds records back any more", *where)
        self.held_back = found

    def content(self) -> dict[str, Any]:
        """The heartbeat's part: `warnings`, `held_back` by partition, and since when any is."""
        # Copies: the heartbeat's thread asks, the main thread looks.
        held, since = dict(self.held_back), list(self._held_since.values())
        return {
            "warnings": [*self._warnings, *(held_back_text(*one) for one in held.items())],
            "held_back_since": min(since, default=None),
            "held_back": {
                f"{topic}-{partition}": {
                    "last_stable_offset": one.last_stable_offset,
                    "end_offset": one.end_offset,
                }
                for (topic, partition), one in held.items()
            },
        }


def warnings(topic: str, retention: Retention) -> list[str]:
    """What may remove a topic's records before the stream has read them."""
    found = []
    if retention.is_compacted:
        found.append(
            f"topic {topic} is compacted (cleanup.policy): a record that a newer one of its key replaces may "
            "go before it is read; the ledger counts such offsets as compacted. Set cleanup.policy=delete to "
            "keep every version"
        )
    if "delete" not in retention.cleanup:
        return found
    if 0 <= retention.milliseconds < SHORT_RETENTION_MILLISECONDS:
        kept = timedelta(milliseconds=retention.milliseconds)
        found.append(
            f"topic {topic} keeps records for {kept} only (retention.ms): a stream that stands still for "
            "longer loses some"
        )
    if retention.size >= 0:
        found.append(
            f"topic {topic} keeps {retention.size} bytes a partition only (retention.bytes): a stream that "
            "stands still while more is sent loses some"
        )
    return found


def held_back_text(where: Where, held: HeldBack) -> str:
    """Why there is lag that no reading ends."""
    return (
        f"{where[0]}-{where[1]}: a transaction is open since offset {held.last_stable_offset} (the last "
        f"stable offset), and {held.offsets} offsets up to {held.end_offset} wait for its end: commit or "
        "abort it (kafka-transactions.sh finds and aborts hanging ones)"
    )
