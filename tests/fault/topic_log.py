"""Reads a topic itself, record by record: what the lake is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from kafka import KafkaConsumer, TopicPartition

COORDINATES = ["topic", "partition", "offset", "incarnation"]


def read_topics(
    bootstrap: str, topics: Iterable[str], *, with_values: bool = True, incarnation: int = 0
) -> pd.DataFrame:
    """All records of the topics up to now: COORDINATES, timestamp (ms), key, value, headers.

    Without values the last three are left out, for logs that would not fit into memory. `incarnation` is that
    of all these topics.
    """
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=16 * 1024 * 1024,
    )
    rows: list[tuple[Any, ...]] = []
    try:
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in consumer.partitions_for_topic(topic) or set()
        ]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for records in consumer.poll(timeout_ms=1000, max_records=20_000).values():
                for record in records:
                    where = (record.topic, record.partition, record.offset, incarnation, record.timestamp)
                    content = (record.key, record.value, tuple(record.headers)) if with_values else ()
                    rows.append((*where, *content))
    finally:
        consumer.close()
    content_columns = ["key", "value", "headers"] if with_values else []
    return pd.DataFrame(rows, columns=[*COORDINATES, "timestamp", *content_columns])
