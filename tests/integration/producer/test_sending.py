"""What the producer says it has sent is in the topic: byte for byte, once, in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.partitioner import DefaultPartitioner, murmur2

from medallion_contracts.errors import ServiceUnavailable
from medallion_contracts.loader import load_dataset
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.producer import client
from medallion_ops.producer.delivery import Delivery, _by_key
from medallion_ops.producer.parameters import Parameters, Source
from medallion_ops.producer.plan import plan
from medallion_ops.producer.raw import send_raw
from medallion_ops.producer.records import Record
from medallion_ops.producer.sending import Run
from medallion_ops.producer.topic import create_topic, describe_topic, require_topic
from services import BrokerServer

ROOT = Path(__file__).parents[3]
TELCO = ROOT / "docker" / "local" / "data" / "telco-customer-churn.csv"
CUSTOMERS = load_dataset("customers")
WATERMARK = timedelta(minutes=10)


def command(broker: str, *arguments: object) -> subprocess.Popen[str]:
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("expectations", "plugins"))
    return subprocess.Popen(
        [sys.executable, "-m", "medallion_ops.producer", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths, "MEDALLION_KAFKA_BOOTSTRAP": broker},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def summary_of(stdout: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return summary


def test_the_telco_table_arrives_as_planned_with_its_faults(
    broker: str, kafka: KafkaSettings, reader: Any
) -> None:
    as_of = "2026-11-01T10:00:00+00:00"
    faults = ("--broken", "24", "--duplicated", "10", "--late", "5", "--as-of", as_of)
    before = reader.end("customers")
    process = command(broker, "--source", "telco", "--file", TELCO, *faults)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    summary = summary_of(stdout)
    assert (summary["sent"], summary["acked"], summary["failed"]) == (7082, 7082, 0)
    assert (summary["events"], summary["duplicated"], summary["late"]) == (7043, 10, 5)
    assert sum(summary["broken"].values()) == 24
    parameters = Parameters(
        Source.TELCO, TELCO, broken=24, duplicated=10, late=5, as_of=datetime.fromisoformat(as_of)
    )
    expected = [planned.record for planned in plan(parameters, CUSTOMERS, WATERMARK)]
    found = reader.records("customers", before)
    assert Counter((each.key, each.value) for each in found) == Counter(
        (each.key, each.value) for each in expected
    )
    # One key, one partition: the order of a customer's records is the order of sending.
    sent_by_key, found_by_key = defaultdict(list), defaultdict(list)
    for record in expected:
        sent_by_key[record.key].append(record.value)
    for each in found:
        found_by_key[each.key].append(each.value)
        assert each.partition == (murmur2(each.key) & 0x7FFFFFFF) % 4
    assert found_by_key == sent_by_key


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_endless_run_with_everything_acknowledged(
    broker: str, reader: Any, asked: signal.Signals
) -> None:
    before = reader.end("customers")
    process = command(broker, "--source", "synthetic", "--rate", 300, "--broken", "0.1")
    try:
        deadline = time.monotonic() + 60
        while sum(reader.end("customers").values()) == sum(before.values()):
            assert time.monotonic() < deadline, "nothing was sent"
            time.sleep(0.2)
        process.send_signal(asked)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, stderr
    summary = summary_of(stdout)
    assert summary["stopped"]
    assert summary["sent"] == summary["acked"] > 0
    assert summary["failed"] == 0
    assert sum(reader.end("customers").values()) - sum(before.values()) == summary["acked"]


def test_a_rate_is_kept(kafka: KafkaSettings) -> None:
    run = Run(Parameters(Source.SYNTHETIC, count=60, rate=50), kafka, WATERMARK)
    summary = run.execute(Event())
    assert summary.counts.acked == 60
    assert summary.seconds >= 59 / 50


def test_a_broker_that_does_not_answer_is_named_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_MS", 4_000)
    begin = time.monotonic()
    with pytest.raises(ServiceUnavailable) as error:
        Run(Parameters(Source.SYNTHETIC, count=1), KafkaSettings("127.0.0.1:1"), WATERMARK).execute(Event())
    assert 4 <= time.monotonic() - begin < 20
    assert "127.0.0.1:1" in str(error.value)
    assert "MEDALLION_KAFKA_BOOTSTRAP" in str(error.value)


def test_records_outlive_a_broker_that_is_killed_and_started_again(
    broker_server: BrokerServer, kafka: KafkaSettings, fresh_topic: str, reader: Any
) -> None:
    records = [Record(b"key-%d" % (number % 50), b"value-%d" % number) for number in range(3_000)]

    delivery = Delivery(kafka, fresh_topic)
    is_time_to_kill = Event()

    def send_all() -> None:
        with delivery:
            for number, record in enumerate(records):
                if number == 1_000:
                    is_time_to_kill.set()
                delivery.send(record)
                time.sleep(0.001)

    # The broker dies with the thread that started it, so it is the sending that has a thread of its own.
    sending = threading.Thread(target=send_all)
    sending.start()
    assert is_time_to_kill.wait(60)
    broker_server.kill()
    broker_server.start()
    sending.join()
    assert delivery.counts.acked == len(records)
    found = reader.records(fresh_topic)
    assert Counter(each.value for each in found) == Counter(record.value for record in records)
    for partition in range(3):
        numbers = [int(each.value[6:]) for each in found if each.partition == partition]
        assert numbers == sorted(numbers)


def limit(kafka: KafkaSettings, topic: str, largest: int) -> None:
    """Set the largest batch of records that the topic takes."""
    admin = client.open_admin(kafka)
    try:
        configs = {"max.message.bytes": str(largest)}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])
    finally:
        admin.close()


class TestRaw:
    def test_any_bytes_arrive_as_they_are(self, kafka: KafkaSettings, fresh_topic: str, reader: Any) -> None:
        records = [
            Record(b"A", b'{"a":1}', (("origin", b"customers-0-7"), ("empty", b""))),
            Record(b"\xff\x00", b"\xc3\x28 not UTF-8"),
            Record(b"A", None),  # a tombstone
            Record(None, b"no key"),
            Record(b"", b""),
        ]
        counts = send_raw(kafka, fresh_topic, iter(records))
        assert (counts.sent, counts.acked, counts.failed) == (5, 5, 0)
        found = [Record(each.key, each.value, tuple(each.headers)) for each in reader.records(fresh_topic)]
        assert sorted(found, key=repr) == sorted(records, key=repr)

    def test_nothing_at_all_is_sent_as_an_empty_value(
        self, kafka: KafkaSettings, fresh_topic: str, reader: Any
    ) -> None:
        send_raw(kafka, fresh_topic, [Record(None, None)])
        (found,) = reader.records(fresh_topic)
        assert (found.key, found.value) == (None, b"")

    def test_a_record_too_large_for_the_broker_is_an_error_and_the_others_are_there(
        self, kafka: KafkaSettings, fresh_topic: str, reader: Any
    ) -> None:
        with pytest.raises(ServiceUnavailable, match=r"acknowledged \d of \d records"):
            send_raw(kafka, fresh_topic, [Record(b"A", b"1"), Record(b"A", b"x" * 2_000_000)])
        assert [each.value for each in reader.records(fresh_topic)] == [b"1"]

    @pytest.mark.parametrize("largest", [2_000, 3_000_000])
    def test_what_the_topic_does_not_take_is_left_out_and_the_rest_goes(
        self, kafka: KafkaSettings, fresh_topic: str, reader: Any, largest: int
    ) -> None:
        limit(kafka, fresh_topic, largest)
        topic = describe_topic(kafka, fresh_topic)
        assert topic is not None
        assert topic.max_message_bytes == largest
        fits, too_large = [b"1", b"x" * (largest - 200), b"2"], [b"y" * largest, b"z" * (largest + 1)]
        records = [Record(b"A", value) for value in (fits[0], too_large[0], fits[1], too_large[1], fits[2])]
        left_out: list[Record] = []
        counts = send_raw(kafka, fresh_topic, records, on_too_large=left_out.append)
        assert (counts.sent, counts.acked, counts.failed) == (3, 3, 0)
        assert [record.value for record in left_out] == too_large
        found = [each.value for each in reader.records(fresh_topic)]
        assert found == fits

    def test_what_only_the_broker_finds_too_large_is_left_out_too(
        self, kafka: KafkaSettings, fresh_topic: str, reader: Any
    ) -> None:
        limit(kafka, fresh_topic, 2_000)
        left_out: list[Record] = []
        # As where the broker does not tell.
        with Delivery(kafka, fresh_topic, on_too_large=left_out.append) as delivery:
            for value in (b"1", b"x" * 5_000, b"2"):
                delivery.send(Record(b"A", value))
        assert (delivery.counts.sent, delivery.counts.acked, delivery.counts.failed) == (2, 2, 0)
        assert [record.value for record in left_out] == [b"x" * 5_000]
        assert [each.value for each in reader.records(fresh_topic)] == [b"1", b"2"]

    def test_records_without_a_key_go_to_all_partitions(
        self, kafka: KafkaSettings, fresh_topic: str, reader: Any
    ) -> None:
        send_raw(kafka, fresh_topic, [Record(None, b"%d" % number) for number in range(9)])
        assert Counter(each.partition for each in reader.records(fresh_topic)) == {0: 3, 1: 3, 2: 3}


class TestTopics:
    def test_a_new_topic_takes_the_broker_s_clock(self, kafka: KafkaSettings, fresh_topic: str) -> None:
        topic = describe_topic(kafka, fresh_topic)
        assert topic is not None
        assert (topic.partitions, topic.replicas, topic.timestamp_type) == (3, 1, "LogAppendTime")

    def test_creating_a_topic_again_leaves_it_as_it_is(self, kafka: KafkaSettings, fresh_topic: str) -> None:
        assert create_topic(kafka, fresh_topic, partitions=9).partitions == 3

    def test_a_missing_topic_is_none_or_an_error_that_says_what_to_do(self, kafka: KafkaSettings) -> None:
        assert describe_topic(kafka, "no-such-topic") is None
        assert describe_topic(kafka, "not a topic's name") is None
        with pytest.raises(ServiceUnavailable, match=r"has no topic 'no-such-topic': create it"):
            require_topic(kafka, "no-such-topic")

    def test_the_default_partition_is_the_one_of_every_other_client(self) -> None:
        class FourPartitions:
            """What the client library's own partitioner asks of cluster metadata."""

            def topics(self) -> set[str]:
                return {"t"}

            def partitions_for_topic(self, topic: str) -> set[int]:
                return {0, 1, 2, 3}

            available_partitions_for_topic = partitions_for_topic

        mine, theirs = _by_key([0, 1, 2, 3]), DefaultPartitioner()
        for number in range(500):
            key = b"customer-%d" % number
            assert mine(key) == theirs.partition("t", key, key, None, None, FourPartitions())


def test_an_endless_run_whose_records_no_one_acknowledges_ends_long_before_the_client_gives_up(
    own_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medallion_ops.producer.delivery.SHUTDOWN_TIMEOUT_SECONDS", 1.0)
    asked = Parameters(Source.SYNTHETIC, rate=200)
    run = Run(asked, KafkaSettings(own_broker.bootstrap), WATERMARK, timedelta(seconds=3))
    [broker, *_] = own_broker.processes()
    frozen = threading.Timer(2, os.kill, (broker, signal.SIGSTOP))
    frozen.start()
    try:
        with pytest.raises(ServiceUnavailable, match="MEDALLION_LIMIT_PRODUCER_MINUTES"):
            run.execute(Event())
    finally:
        os.kill(broker, signal.SIGCONT)
    summary = run.summary.as_json()
    assert summary["acked"] > 0
    assert summary["failed"] > 0


def test_a_run_that_rests_between_its_records_is_not_taken_for_a_hanging_one(kafka: KafkaSettings) -> None:
    asked = Parameters(Source.SYNTHETIC, rate=0.4, count=3)
    summary = Run(asked, kafka, WATERMARK, timedelta(seconds=1)).execute(Event())
    assert summary.counts.acked == 3
