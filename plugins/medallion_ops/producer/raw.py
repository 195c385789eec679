"""Sends bytes as they are, for whoever has records already."""

from __future__ import annotations

from collections.abc import Iterable

from medallion_ops.producer.delivery import Counts, Delivery
from medallion_ops.producer.records import Record
from medallion_ops.settings import KafkaSettings


def send_raw(settings: KafkaSettings, topic: str, records: Iterable[Record]) -> Counts:
    """Send records with exactly these keys, values and headers, and wait until the broker has them.

    Args:
        settings: The broker.
        topic: An existing topic.
        records: Taken one by one, never all in memory. A record with neither key nor value is sent with an
            empty value.

    Raises:
        ServiceUnavailable: The broker cannot be reached, or a record was not acknowledged. Some may have
            been; the stream finds the repeats when all are sent again.
    """
    with Delivery(settings, topic) as delivery:
        for record in records:
            delivery.send(record)
    return delivery.counts
