"""The Kafka side of the stream: how to log in, what to read, and what the broker still has."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession

from medallion_contracts.errors import ParameterError
from medallion_spark.session.secrets import required_secret

RECORD_COLUMNS = (
    "key",
    "value",
    "topic",
    "partition",
    "offset",
    "timestamp",
    "timestampType",
    "headers",
)
"""Columns of a Kafka record as Spark's source gives them."""

READ_COMMITTED = {"isolation.level": "read_committed"}
"""A reader's setting: records of transactions that are open or were aborted are not served."""

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")


@dataclass(frozen=True)
class KafkaAccess:
    """A broker and how to log in there. The password is read from the secrets file when it is needed."""

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    tenant_id: str | None = None
    ca_file: str | None = None

    def __post_init__(self) -> None:
        if self.security_protocol.startswith("SASL") and not (self.sasl_mechanism and self.username):
            raise ParameterError(
                "the broker cannot be asked",
                [
                    f"--kafka-security-protocol={self.security_protocol} needs "
                    "--kafka-sasl-mechanism and --kafka-username"
                ],
            )


def add_kafka_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that `kafka_access` reads."""
    group = parser.add_argument_group("Kafka")
    group.add_argument("--bootstrap", required=True, help="host:port of the broker, several by commas")
    group.add_argument(
        "--kafka-security-protocol", default="PLAINTEXT", choices=PROTOCOLS, help="(default: %(default)s)"
    )
    group.add_argument("--kafka-sasl-mechanism", choices=MECHANISMS)
    group.add_argument(
        "--kafka-username", help="SASL user; $ConnectionString for Event Hubs; client id for OAUTHBEARER"
    )
    group.add_argument("--kafka-tenant-id", help="Entra tenant (OAUTHBEARER)")
    group.add_argument("--kafka-ca-file", help="PEM file with the broker's CA, on every worker")


def kafka_access(arguments: argparse.Namespace) -> KafkaAccess:
    """The broker that the arguments name.

    Raises:
        ParameterError: they do not fit together.
    """
    return KafkaAccess(
        bootstrap=arguments.bootstrap,
        security_protocol=arguments.kafka_security_protocol,
        sasl_mechanism=arguments.kafka_sasl_mechanism,
        username=arguments.kafka_username,
        tenant_id=arguments.kafka_tenant_id,
        ca_file=arguments.kafka_ca_file,
    )


def client_options(kafka: KafkaAccess) -> dict[str, str]:
    """Options of a Kafka client; may hold a secret, never log it.

    Raises:
        SettingsError: the password is missing in the secrets file.
    """
    options = {
        "bootstrap.servers": kafka.bootstrap,
        "security.protocol": kafka.security_protocol,
        # Event Hubs closes idle connections after four minutes and wants a long request time-out.
        "request.timeout.ms": "60000",
        "session.timeout.ms": "30000",
        "metadata.max.age.ms": "180000",
        "connections.max.idle.ms": "180000",
        # A reader must not make a topic that was deleted.
        "allow.auto.create.topics": "false",
    }
    if kafka.ca_file:
        options |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": kafka.ca_file}
    if kafka.sasl_mechanism:
        options["sasl.mechanism"] = kafka.sasl_mechanism
        options |= _login(kafka, required_secret("MEDALLION_KAFKA_PASSWORD"))
    return options


def _login(kafka: KafkaAccess, password: str) -> dict[str, str]:
    common = "org.apache.kafka.common.security"
    user = _quoted(kafka.username or "")
    if kafka.sasl_mechanism == "OAUTHBEARER":
        # Event Hubs: a service principal asks Entra for a token of the namespace.
        host = kafka.bootstrap.partition(",")[0].partition(":")[0]
        scope = _quoted(f"https://{host}/.default")
        return {
            "sasl.login.callback.handler.class": f"{common}.oauthbearer.OAuthBearerLoginCallbackHandler",
            "sasl.oauthbearer.token.endpoint.url": (
                f"https://login.microsoftonline.com/{kafka.tenant_id}/oauth2/v2.0/token"
            ),
            "sasl.jaas.config": (
                f"{common}.oauthbearer.OAuthBearerLoginModule required "
                f"clientId={user} clientSecret={_quoted(password)} scope={scope};"
            ),
        }
    module = "plain.PlainLoginModule" if kafka.sasl_mechanism == "PLAIN" else "scram.ScramLoginModule"
    return {"sasl.jaas.config": f"{common}.{module} required username={user} password={_quoted(password)};"}


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read_stream(
    spark: SparkSession,
    kafka: KafkaAccess,
    topics: Iterable[str],
    *,
    max_offsets: int,
    fail_on_data_loss: bool,
    starting: Mapping[str, Mapping[str, int]] | None = None,
) -> DataFrame:
    """The committed records of the topics as a stream of RECORD_COLUMNS.

    minPartitions stays unset: one task reads one partition in the order of offsets, which lateness needs.

    Args:
        spark: the session.
        kafka: the broker.
        topics: to read.
        max_offsets: most offsets of one micro-batch.
        fail_on_data_loss: whether records that the broker has lost stop the query.
        starting: offsets by topic and partition where a new checkpoint begins; default: the earliest.
    """
    reader = spark.readStream.format("kafka")
    for name, value in {**client_options(kafka), **READ_COMMITTED}.items():
        reader = reader.option(f"kafka.{name}", value)
    return (
        reader.option("subscribe", ",".join(topics))
        .option("startingOffsets", json.dumps(starting) if starting else "earliest")
        .option("maxOffsetsPerTrigger", max_offsets)
        .option("failOnDataLoss", str(fail_on_data_loss).lower())
        .option("includeHeaders", "true")
        .load()
        .select(*RECORD_COLUMNS)
    )
