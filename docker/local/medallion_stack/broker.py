"""One Kafka broker in one process (KRaft, no ZooKeeper)."""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medallion_contracts.errors import ServiceUnavailable
from medallion_stack.environment import base_environment, java
from medallion_stack.layout import BROKER_JARS
from medallion_stack.ports import LOOPBACK
from medallion_stack.process import Service

_HEAP = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC"]
_LOGGING = """\
status = WARN
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server
logger.server.level = INFO
"""


@dataclass(frozen=True)
class Broker:
    """A broker with its files in `folder`; a later start with other ports keeps topics and records."""

    folder: Path
    port: int
    controller_port: int
    properties: Mapping[str, str]
    """Server properties on top of the defaults; they win."""

    @property
    def bootstrap(self) -> str:
        """Address for clients, host:port."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Write the configuration, and format the storage unless it is formatted; safe to repeat.

        Raises:
            ServiceUnavailable: Kafka's storage tool failed; carries what it said.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j2.properties").write_text(_LOGGING)
        lines = [f"{name}={value}" for name, value in {**self._defaults(), **self.properties}.items()]
        self._properties_file.write_text("\n".join(lines) + "\n")
        # meta.properties is written last by the formatter: a format that was cut short is done again.
        if (self.folder / "data" / "meta.properties").exists():
            return
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        formatter = self._java(
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster_id}",  # in one word: an id may begin with a hyphen
            f"--config={self._properties_file}",
        )
        done = subprocess.run(formatter, capture_output=True, text=True, env=base_environment(), check=False)
        if done.returncode:
            raise ServiceUnavailable(f"Kafka's storage could not be formatted: {done.stdout}{done.stderr}")

    def service(self, *, dies_with_parent: bool = False) -> Service:
        """How to run it."""
        return Service(
            name="broker",
            command=self._java("kafka.Kafka", self._properties_file),
            environment=base_environment(),
            is_ready=self._is_ready,
            ready_on=self.bootstrap,
            dies_with_parent=dies_with_parent,
        )

    def ensure_topics(self, names: tuple[str, ...], partitions: int = 4) -> None:
        """Create the topics that are not there; the broker's clock stamps their records."""
        from kafka.admin import KafkaAdminClient, NewTopic

        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            present = set(admin.list_topics())
            config = {"message.timestamp.type": "LogAppendTime"}
            missing = [
                NewTopic(name, num_partitions=partitions, replication_factor=1, topic_configs=config)
                for name in names
                if name not in present
            ]
            if missing:
                admin.create_topics(missing)
        finally:
            admin.close()

    def record_count(self, topics: tuple[str, ...]) -> int:
        """How many records the topics have taken since they were made."""
        from kafka import KafkaConsumer, TopicPartition

        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap)
        try:
            partitions = [
                TopicPartition(topic, number)
                for topic in topics
                for number in consumer.partitions_for_topic(topic) or ()
            ]
            return sum(consumer.end_offsets(partitions).values())
        finally:
            consumer.close()

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, main: str, *arguments: object) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        return [java(), *_HEAP, logging, "-cp", f"{BROKER_JARS}/*", main, *map(str, arguments)]

    def _is_ready(self) -> bool:
        from kafka.admin import KafkaAdminClient

        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=2000)
        try:
            admin.list_topics()
        finally:
            admin.close()
        return True

    def _defaults(self) -> dict[str, str]:
        controller = f"{LOOPBACK}:{self.controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            # A fixed voter, not a dynamic quorum: that one stores the port, and the port may change.
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "listener.security.protocol.map": (
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"
            ),
            "log.dirs": str(self.folder / "data"),
            "num.network.threads": "2",
            "num.io.threads": "4",
            # After kill -9 the controller waits for the old registration to expire: by default 9 s.
            "broker.heartbeat.interval.ms": "1000",
            "broker.session.timeout.ms": "4000",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
        }
