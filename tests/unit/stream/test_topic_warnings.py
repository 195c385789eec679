"""What is said of topics that may remove records before they are read, and of failures to read."""

from __future__ import annotations

import pytest

from kafka_log import HandMadeLog
from medallion_contracts.errors import RecordsLost
from medallion_spark.stream import topic_watch
from medallion_spark.stream.read_failures import reading_failure
from medallion_spark.stream.topic_log import HeldBack, Retention
from medallion_spark.stream.topic_watch import held_back_text, warnings

WEEK, HOUR = 7 * 24 * 3_600_000, 3_600_000


@pytest.mark.parametrize(
    ("retention", "expected"),
    [
        (Retention(frozenset({"delete"}), WEEK, -1), []),
        (Retention(frozenset({"delete"}), -1, -1), []),
        (Retention(frozenset({"delete"}), HOUR, -1), ["1:00:00"]),
        (Retention(frozenset({"delete"}), WEEK, 1000), ["1000 bytes"]),
        (Retention(frozenset({"compact"}), HOUR, 1000), ["is compacted"]),
        (Retention(frozenset({"compact", "delete"}), 0, -1), ["is compacted", "0:00:00"]),
        (Retention(frozenset({"delete"}), 2**63 - 1, -1), []),
    ],
)
def test_compacted_and_short_lived_topics_are_named(retention: Retention, expected: list[str]) -> None:
    found = warnings("customers", retention)
    assert len(found) == len(expected)
    for text, part in zip(found, expected, strict=True):
        assert "topic customers" in text
        assert part in text


def test_lag_behind_a_transaction_says_so() -> None:
    text = held_back_text(("customers", 3), HeldBack(100, 350))
    for part in ("customers-3", "since offset 100", "250 offsets up to 350", "abort"):
        assert part in text


class TransactionalLog:
    """A broker whose open transactions a test sets."""

    def __init__(self) -> None:
        self.now: dict[tuple[str, int], HeldBack] = {}

    def held_back(self, _topics: object) -> dict[tuple[str, int], HeldBack]:
        """See BrokerLog."""
        return dict(self.now)


def test_the_heartbeat_says_since_when_records_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_watch, "LOOK_SECONDS", 0)
    times = iter(["12:00", "12:01", "12:02"])
    monkeypatch.setattr(topic_watch, "utc_text", lambda: next(times))
    log = TransactionalLog()
    watch = topic_watch.TopicWatch(log, ["customers"])  # type: ignore[arg-type]  # one question of it
    said = []
    for offsets in ((100, 350), (100, 360), (360, 400), None):
        log.now = {("customers", 3): HeldBack(*offsets)} if offsets else {}
        watch.look()
        said.append(watch.content()["held_back_since"])
    assert said == ["12:00", "12:00", "12:01", None]


def test_what_cannot_be_read_is_named_by_its_coordinates() -> None:
    spark_says = "Caused by: Record at topic t partition 2 offset 9 has timestamp value 99 that overflows"
    error = reading_failure(ValueError(spark_says), dict, HandMadeLog())
    assert "offset 9 of t-2 has the time 99" in str(error)
    gone = ValueError("Some data may have been lost because they are not available in Kafka any more")
    error = reading_failure(gone, lambda: {("customers", 0): 5}, HandMadeLog(first_kept={0: 8}))
    assert isinstance(error, RecordsLost)
    assert "offsets 5 to 7 of customers-0 are gone (3)" in str(error)
    assert reading_failure(ValueError("disk on fire"), dict, HandMadeLog()) is None


def test_an_error_is_not_hidden_by_one_that_follows() -> None:
    def away() -> dict[tuple[str, int], int]:
        raise OSError("the lake is away, too")

    assert reading_failure(ValueError("OffsetOutOfRange"), away, HandMadeLog()) is None
