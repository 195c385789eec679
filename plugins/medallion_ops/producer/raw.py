"""Sends bytes as they are, for whoever has records already."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.producer.delivery import Counts, Delivery
from medallion_ops.producer.records import MAX_REQUEST_BYTES, Record
from medallion_ops.producer.topic import require_topic


def send_raw(
    settings: KafkaSettings,
    topic: str,
    records: Iterable[Record],
    *,
    on_too_large: Callable[[Record], None] | None = None,
) -> Counts:
    """Send records with exactly these keys, values and headers, and wait until the broker has them.

    Args:
        settings: The broker.
        topic: An existing topic; the largest record is what it takes, or MAX_REQUEST_BYTES where the broker
            does not tell.
        records: Taken one by one, never all in memory. A record with neither key nor value is sent with an
            empty value.
        on_too_large: Gets each record that the topic does not take, and the rest goes; None makes such a
            record an error.

    Returns:
        The counts, without those that are too large.

    Raises:
        ServiceUnavailable: The broker cannot be reached, there is no such topic, or a record was not
            acknowledged. Some may have been; the stream finds the repeats when all are sent again.
    """
    largest = require_topic(settings, topic).max_message_bytes or MAX_REQUEST_BYTES
    with Delivery(settings, topic, max_request_bytes=largest, on_too_large=on_too_large) as delivery:
        for record in records:
            delivery.send(record)
    return delivery.counts
