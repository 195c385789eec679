"""Sends records and keeps count of what the broker acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import cycle
from types import TracebackType
from typing import Any, Self

from kafka.errors import KafkaError, MessageSizeTooLargeError
from kafka.partitioner import murmur2

from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.producer.client import DELIVERY_MS, broker_errors, open_producer
from medallion_ops.producer.records import MAX_REQUEST_BYTES, Record

POLL_SECONDS = 0.002
"""Seconds between two looks at whether there is room again."""
# kafka-python's own buffer has no bound.
_MOST_IN_FLIGHT = 20_000
_MOST_BYTES_IN_FLIGHT = 32 * 1024 * 1024
FLUSH_TIMEOUT_SECONDS = DELIVERY_MS / 1000 + 10
"""Seconds after which everything sent is acknowledged or given up."""
SHUTDOWN_TIMEOUT_SECONDS = 20.0
"""Seconds to wait for what is under way when a run has to end now, by a signal or an error."""


@dataclass(frozen=True)
class Counts:
    """Records handed over, acknowledged by all replicas, and given up; bytes of keys and values."""

    sent: int
    acked: int
    failed: int
    bytes: int


class Delivery:
    """An open connection that delivers to one topic, in order within a partition.

    A record counts as acked once all in-sync replicas have it; the idempotent protocol keeps retries from
    storing it twice. Killed at any point, each partition holds a prefix of what was sent to it: sending
    the same again is safe, the stream finds the repeats. Leaving the context waits for everything under way,
    `patience` seconds at most.

    Args:
        settings: The broker.
        topic: An existing topic.
        max_request_bytes: Largest record that is sent, its framing included.
        on_too_large: Gets each record that is larger than the client or the broker takes, and the rest goes;
            None makes such a record an error. It may be called by the client's thread.

    Raises:
        ServiceUnavailable: The broker cannot be reached or does not tell the topic's partitions.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        *,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        on_too_large: Callable[[Record], None] | None = None,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._on_too_large = on_too_large
        self._producer = open_producer(settings, max_request_bytes, one_by_one=on_too_large is not None)
        with broker_errors(settings):
            partitions = sorted(self._producer.partitions_for(topic))
        self._keyless = cycle(partitions)
        self._partition_of = _by_key(partitions)
        self._sent = self._sent_bytes = 0
        # Written by the client's thread only.
        self._acked = self._failed = self._refused = self._settled_bytes = 0
        self._first_error: BaseException | None = None
        self.patience = FLUSH_TIMEOUT_SECONDS

    @property
    def counts(self) -> Counts:
        """Where things stand; once the context is left, every record is either acked or failed."""
        return Counts(self._sent - self._refused, self._acked, self._failed, self._sent_bytes)

    @property
    def is_full(self) -> bool:
        """Whether `send` would wait, because too much is under way."""
        return self._first_error is None and (
            self._sent - self._acked - self._failed - self._refused >= _MOST_IN_FLIGHT
            or self._sent_bytes - self._settled_bytes >= _MOST_BYTES_IN_FLIGHT
        )

    def send(self, record: Record) -> None:
        """Hand one record over; waits while too much is under way.

        Raises:
            ServiceUnavailable: An earlier record was given up, or this one is larger than a request may be.
        """
        while self.is_full:
            time.sleep(POLL_SECONDS)
        self.raise_if_given_up()
        key, value, headers = record
        if key is None and value is None:
            value = b""  # the client refuses to send nothing at all; the stream judges both alike
        partition = next(self._keyless) if key is None else self._partition_of(key)
        try:
            future = self._producer.send(self._topic, value, key, list(headers), partition)
        except MessageSizeTooLargeError as error:
            if self._on_too_large is None:
                self._first_error = error
                raise self.not_acknowledged(str(error)) from error
            self._on_too_large(record)
            return
        except KafkaError as error:
            self._first_error = error
            raise self.not_acknowledged(str(error)) from error
        self._sent += 1
        self._sent_bytes += len(key or b"") + len(value or b"")
        future.add_callback(self._on_ack)
        future.add_errback(partial(self._on_failure, record if self._on_too_large else None))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(self.patience if error is None else SHUTDOWN_TIMEOUT_SECONDS)
        if not self._failed:
            return
        if error is None:
            raise self.not_acknowledged(str(self._first_error))
        error.add_note(f"{self._failed:,} of {self._sent:,} records were not acknowledged")

    def _close(self, seconds: float) -> None:
        try:
            self._producer.close(timeout=seconds)
        except KafkaError as error:
            self._first_error = self._first_error or error
            # The client has stopped closing half-way: its thread would go on, delivering what we call failed.
            self._producer._sender.force_close()
            self._producer._closed = True
        # What nobody has heard of is no success.
        self._failed = self._sent - self._acked - self._refused

    def _on_ack(self, metadata: Any) -> None:
        self._acked += 1
        self._settled_bytes += max(metadata.serialized_key_size, 0) + max(metadata.serialized_value_size, 0)

    def _on_failure(self, record: Record | None, error: BaseException) -> None:
        if self._on_too_large and record and isinstance(error, MessageSizeTooLargeError):
            self._refused += 1
            self._settled_bytes += len(record.key or b"") + len(record.value or b"")
            self._on_too_large(record)
            return
        self._failed += 1
        if self._first_error is None:
            self._first_error = error

    def raise_if_given_up(self) -> None:
        """See that no record was given up.

        Raises:
            ServiceUnavailable: The client gave one up.
        """
        if self._first_error is not None:
            raise self.not_acknowledged(str(self._first_error))

    def not_acknowledged(self, why: str) -> ServiceUnavailable:
        """The error that not all records were acknowledged."""
        return ServiceUnavailable(
            f"Kafka at {self._settings.bootstrap} acknowledged {self._acked:,} of {self._sent:,} records for "
            f"the topic {self._topic!r} and not the rest ({why}). Is the broker of "
            "MEDALLION_KAFKA_BOOTSTRAP running? Sending the same again is safe."
        )


def _by_key(partitions: list[int]) -> Callable[[bytes], int]:
    """The Java client's choice of partition; remembered, as hashing in Python costs as much as sending."""

    @lru_cache(maxsize=200_000)
    def partition(key: bytes) -> int:
        place: int = (murmur2(key) & 0x7FFFFFFF) % len(partitions)
        return partitions[place]

    return partition
