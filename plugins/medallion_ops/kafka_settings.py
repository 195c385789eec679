"""How the platform reaches the broker; read with all others by `medallion_ops.settings`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from medallion_ops import setting_fields as f
from medallion_store.secret import Secret


@dataclass(frozen=True)
class KafkaSettings(f.Section):
    """How to reach the broker: a Kafka broker or Azure Event Hubs."""

    TITLE: ClassVar[str] = "Broker"

    bootstrap: str = f.setting(
        "KAFKA_BOOTSTRAP",
        f.servers,
        "address of the Kafka broker or Event Hubs namespace",
        example="ns.servicebus.windows.net:9093",
        required=True,
    )
    security_protocol: str = f.setting(
        "KAFKA_SECURITY_PROTOCOL",
        partial(f.choice, of=("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")),
        "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL (Event Hubs)",
        default="PLAINTEXT",
        example="SASL_SSL",
    )
    sasl_mechanism: str | None = f.setting(
        "KAFKA_SASL_MECHANISM",
        partial(f.choice, of=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")),
        "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER (a service principal)",
        example="PLAIN",
    )
    username: str | None = f.setting(
        "KAFKA_USERNAME",
        f.text,
        "login name; `$ConnectionString` for Event Hubs; the client id with OAUTHBEARER",
        example="$ConnectionString",
    )
    password: Secret | None = f.setting(
        "KAFKA_PASSWORD",
        f.secret,
        "password; the connection string for Event Hubs; the client secret with OAUTHBEARER",
    )
    tenant_id: str | None = f.setting(
        "KAFKA_TENANT_ID", f.text, "Entra tenant of the service principal (OAUTHBEARER)"
    )
    ca_file: Path | None = f.setting(
        "KAFKA_CA_FILE",
        f.absolute_path,
        "PEM file of the authority that signed the broker's certificate, if it is not a public one",
        example="/etc/ssl/broker-ca.pem",
    )

    def _contradictions(self) -> Iterator[str]:
        if self.security_protocol.startswith("SASL_"):
            because = f"MEDALLION_KAFKA_SECURITY_PROTOCOL is {self.security_protocol}"
            yield from self._missing("sasl_mechanism", "username", "password", because=because)
        if self.sasl_mechanism == "OAUTHBEARER":
            yield from self._missing("tenant_id", because="MEDALLION_KAFKA_SASL_MECHANISM is OAUTHBEARER")
