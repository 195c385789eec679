"""Records of all kinds, sent to a real topic: good, repeated, conflicting, late, from the future, broken."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from kafka import KafkaProducer

Record = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]

_BROKEN = (
    None,
    b"",
    b"{",
    b"\xff\xfe",
    b'{"customer_id": 7}',
    b'{"customer_id": "A", "customer_id": "B"}',
    b"NaN",
)


def mixed_records(count: int, seed: int) -> Iterator[Record]:
    """So many records, the same for the same seed but for their times, which are of the last minutes."""
    chance = random.Random(seed)
    start = datetime.now(UTC) - timedelta(minutes=5)
    sent: list[dict[str, object]] = []
    for number in range(count):
        kind = chance.random()
        moment = start + timedelta(seconds=number * 240 / count)
        key: bytes | None = None
        if kind < 0.04:
            yield b"broken", chance.choice(_BROKEN), []
            continue
        if kind < 0.12 and sent:
            event = dict(chance.choice(sent))  # a repeat
        elif kind < 0.16 and sent:
            event = {**chance.choice(sent), "tenure": chance.randrange(73, 100)}  # a conflict
        else:
            if kind < 0.20:
                moment -= timedelta(hours=1)  # late, once its partition has seen a newer one
            elif kind < 0.22:
                moment = datetime.now(UTC) + timedelta(days=1)
            event = {
                "customer_id": f"{seed:02}-{number % 997:04}",
                "updated_at": moment.isoformat(),
                "tenure": chance.randrange(72),
                "monthly_charges": f"{chance.randrange(10_000) / 100:.2f}",
                "contract": chance.choice(["One year", " two YEAR ", None]),
                "internet_service": "DSL",
            }
            sent.append(event)
        if kind > 0.97:
            event["not_in_the_contract"] = number
        key = str(event["customer_id"]).encode() if kind < 0.99 else None
        yield key, json.dumps(event).encode(), [("source", str(number).encode())] if kind > 0.9 else []


_AHEAD = 100_000


def send(bootstrap: str, records: Iterator[Record], topic: str = "customers") -> int:
    """Send the records in order and wait until the broker has them all; gives their number."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20)
    count = 0
    refused: list[BaseException] = []
    try:
        for key, value, headers in records:
            sent = producer.send(topic, key=key, value=value, headers=headers)
            sent.add_errback(refused.append)
            count += 1
            if count % _AHEAD == 0:
                producer.flush(timeout=60)  # what waits too long in the client's queue is given up
        producer.flush(timeout=60)
        assert not refused, f"{len(refused):,} of {count:,} records were not sent: {refused[0]}"
    finally:
        producer.close()
    return count
