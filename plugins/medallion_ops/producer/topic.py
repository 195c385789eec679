"""Looking at a topic, and making it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    InvalidTopicError,
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.producer.client import broker_errors, open_admin

log = logging.getLogger(__name__)
TIMESTAMP_TYPE = "message.timestamp.type"
LOG_APPEND_TIME = "LogAppendTime"
MAX_MESSAGE_BYTES = "max.message.bytes"
RETENTION_MS = "retention.ms"


@dataclass(frozen=True)
class Topic:
    """A topic as the broker has it; None where the broker does not tell.

    `max_message_bytes` is the largest batch of records that it takes, framing included; `retention_ms` how
    long it keeps them, -1 for ever.
    """

    name: str
    partitions: int
    replicas: int
    timestamp_type: str | None
    max_message_bytes: int | None
    retention_ms: int | None = None


def describe_topic(settings: KafkaSettings, name: str) -> Topic | None:
    """The topic, or None when there is none.

    Raises:
        ServiceUnavailable: No broker answers, or it refuses.
    """
    return describe_topics(settings, [name])[name]


def describe_topics(settings: KafkaSettings, names: Iterable[str]) -> dict[str, Topic | None]:
    """Topics by name, None for one that is not there.

    Args:
        settings: of Kafka.
        names: of the topics.

    Raises:
        ServiceUnavailable: No broker answers, or it refuses.
    """
    admin = open_admin(settings)
    try:
        return {name: _describe(admin, settings, name) for name in names}
    finally:
        admin.close()


def require_topic(settings: KafkaSettings, name: str) -> Topic:
    """The topic, which must be there.

    Raises:
        ServiceUnavailable: It is not, or no broker answers.
    """
    topic = describe_topic(settings, name)
    if topic is None:
        raise ServiceUnavailable(
            f"Kafka at {settings.bootstrap} has no topic {name!r}: create it (the producer's --create-topic "
            "does, or an event hub of that name), or see MEDALLION_KAFKA_BOOTSTRAP"
        )
    return topic


def create_topic(settings: KafkaSettings, name: str, *, partitions: int = 4) -> Topic:
    """Make sure that the topic is there; one that exists stays as it is.

    New topics take the broker's clock as record time (LogAppendTime), which no producer can set wrong: the
    stream measures `future` and latency by it. Replicas are the broker's default.

    Raises:
        ServiceUnavailable: No broker answers, or it refuses.
    """
    admin = open_admin(settings)
    try:
        found = _describe(admin, settings, name)
        if found is not None:
            return found
        with broker_errors(settings):
            try:
                admin.create_topics(
                    {name: {"num_partitions": partitions, "configs": {TIMESTAMP_TYPE: LOG_APPEND_TIME}}},
                    wait_for_metadata=True,
                )
            except TopicAlreadyExistsError:
                log.debug("somebody else has just created the topic %s", name)
                admin.wait_for_topics([name])
        created = _describe(admin, settings, name)
    finally:
        admin.close()
    if created is None:
        raise ServiceUnavailable(
            f"Kafka at {settings.bootstrap} did not keep the topic {name!r} it had created"
        )
    log.info("created topic %s with %s partitions", name, created.partitions)
    return created


def _describe(admin: KafkaAdminClient, settings: KafkaSettings, name: str) -> Topic | None:
    with broker_errors(settings):
        (found,) = admin.describe_topics([name])
        error = for_code(found["error_code"])
        if error in (UnknownTopicOrPartitionError, InvalidTopicError):
            return None
        if found["error_code"]:
            raise error(name)
        partitions = found["partitions"]
        configs = _configs(admin, name)
        largest, kept = configs.get(MAX_MESSAGE_BYTES), configs.get(RETENTION_MS)
        return Topic(
            name,
            len(partitions),
            len(partitions[0]["replica_nodes"]),
            configs.get(TIMESTAMP_TYPE),
            int(largest) if largest else None,
            int(kept) if kept else None,
        )


def _configs(admin: KafkaAdminClient, name: str) -> dict[str, str]:
    wanted = [TIMESTAMP_TYPE, MAX_MESSAGE_BYTES, RETENTION_MS]
    resource = ConfigResource(ConfigResourceType.TOPIC, name, wanted)
    try:
        configs = admin.describe_configs([resource], config_filter="all")["topic"][name]
    except (KafkaError, LookupError):
        return {}  # a right of its own, which sending does not need
    return {key: str(config["value"]) for key, config in configs.items() if config["value"] is not None}
