"""One run of the producer: sends the plan at the wanted rate, reports while running and at the end."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import Any

from medallion_contracts.loader import load_dataset
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.producer.delivery import POLL_SECONDS, SHUTDOWN_TIMEOUT_SECONDS, Counts, Delivery
from medallion_ops.producer.parameters import Parameters
from medallion_ops.producer.plan import plan
from medallion_ops.producer.records import Planned
from medallion_ops.producer.topic import create_topic, require_topic

log = logging.getLogger(__name__)
REPORT_SECONDS = 5.0
_WORTH_WAITING = 0.01


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        topic: Where the records went.
        counts: Records sent, acked and failed.
        kinds: Records sent by kind: `event`, `duplicate`, `late`, `broken:<reason>`.
        seconds: How long sending took.
        was_stopped: Whether a signal ended the run.
    """

    topic: str
    counts: Counts
    kinds: dict[str, int]
    seconds: float
    was_stopped: bool

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON-ready values; `broken` counts by the reason that the stream will find."""
        broken = {
            kind.removeprefix("broken:"): number
            for kind, number in sorted(self.kinds.items())
            if kind.startswith("broken:")
        }
        return {
            "topic": self.topic,
            "sent": self.counts.sent,
            "acked": self.counts.acked,
            "failed": self.counts.failed,
            "events": self.kinds.get("event", 0),
            "duplicated": self.kinds.get("duplicate", 0),
            "late": self.kinds.get("late", 0),
            "broken": broken,
            "bytes": self.counts.bytes,
            "seconds": round(self.seconds, 3),
            "records_per_second": round(self.counts.acked / self.seconds) if self.seconds else 0,
            "stopped": self.was_stopped,
        }


class Run:
    """One run; `summary` says what it has done so far, also when `execute` raised.

    Args:
        parameters: What to send.
        settings: The broker.
        watermark: The stream's (setting MEDALLION_WATERMARK_MINUTES).
        longest_silence: How long records may be under way without any being acknowledged; None: for ever.
    """

    def __init__(
        self,
        parameters: Parameters,
        settings: KafkaSettings,
        watermark: timedelta,
        longest_silence: timedelta | None = None,
    ) -> None:
        self._parameters = parameters
        self._settings = settings
        self._dataset = load_dataset(parameters.dataset)
        self._watermark = watermark
        self._longest_silence = longest_silence
        self._kinds: Counter[str] = Counter()
        self._counts = Counts(0, 0, 0, 0)
        self._seconds = 0.0
        self._was_stopped = False

    @property
    def summary(self) -> Summary:
        """What the run has done so far."""
        return Summary(self._dataset.topic, self._counts, dict(self._kinds), self._seconds, self._was_stopped)

    def execute(self, stop: Event, *, create_missing_topic: bool = False) -> Summary:
        """Send everything, or as much as there is time for until `stop` is set; wait for the broker.

        Args:
            stop: Ends the run early, with everything handed over so far acknowledged.
            create_missing_topic: Make the topic when the broker has none.

        Raises:
            SourceError: The source cannot be read; nothing was sent.
            ServiceUnavailable: The broker does not answer, has no such topic, or did not acknowledge a
                record in time.
        """
        records = plan(self._parameters, self._dataset, self._watermark)
        if create_missing_topic:
            create_topic(self._settings, self._dataset.topic)
        else:
            require_topic(self._settings, self._dataset.topic)
        delivery = Delivery(self._settings, self._dataset.topic)
        begin = time.monotonic()
        try:
            with delivery:
                self._send(records, delivery, stop, begin)
        finally:
            self._counts = delivery.counts
            self._seconds = time.monotonic() - begin
            log.info("end: %s", _progress(self._counts, self._seconds))
        return self.summary

    def _send(self, records: Iterator[Planned], delivery: Delivery, stop: Event, begin: float) -> None:
        pause = 1 / self._parameters.rate if self._parameters.rate else 0.0
        progress = _Progress(delivery, self._longest_silence)
        next_report = begin + REPORT_SECONDS
        for number, planned in enumerate(records):
            now = time.monotonic()
            if now >= next_report:
                log.info("%s", _progress(delivery.counts, now - begin))
                next_report = now + REPORT_SECONDS
                progress.check()
            due = begin + number * pause
            # Waiting takes at least a moment: better seldom than before every record.
            while (ahead := due - time.monotonic()) > _WORTH_WAITING and not stop.is_set():
                stop.wait(min(ahead, REPORT_SECONDS))
                progress.check()
            while delivery.is_full and not stop.is_set():
                stop.wait(POLL_SECONDS)
                progress.check()
            if stop.is_set():
                self._was_stopped = True
                delivery.patience = SHUTDOWN_TIMEOUT_SECONDS
                return
            delivery.send(planned.record)
            self._kinds[planned.kind] += 1


class _Progress:
    """Whether records that are under way get acknowledged: a run without an end has no other limit."""

    def __init__(self, delivery: Delivery, longest_silence: timedelta | None) -> None:
        self._delivery = delivery
        self._seconds = longest_silence.total_seconds() if longest_silence else None
        self._acked = 0
        self._since = time.monotonic()

    def check(self) -> None:
        """Note how many are acknowledged by now.

        Raises:
            ServiceUnavailable: None of those under way was for too long, or one was given up.
        """
        self._delivery.raise_if_given_up()
        counts, now = self._delivery.counts, time.monotonic()
        if counts.acked != self._acked or counts.acked + counts.failed == counts.sent:
            self._acked, self._since = counts.acked, now
        elif self._seconds is not None and now - self._since > self._seconds:
            raise self._delivery.not_acknowledged(
                f"none for {now - self._since:.0f} s (MEDALLION_LIMIT_PRODUCER_MINUTES)"
            )


def _progress(counts: Counts, seconds: float) -> str:
    rate = counts.acked / seconds if seconds else 0
    return f"sent {counts.sent:,}, acked {counts.acked:,}, failed {counts.failed:,}, {rate:,.0f} records/s"
