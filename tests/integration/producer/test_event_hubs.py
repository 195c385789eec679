"""Against a listener that looks like Event Hubs: TLS, SASL PLAIN, the user `$ConnectionString`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.producer import client
from medallion_ops.producer.raw import send_raw
from medallion_ops.producer.records import Record
from medallion_stack.ports import LOOPBACK, free_port
from medallion_store.secret import Secret
from services import BrokerServer

CONNECTION_STRING = "Endpoint=sb://ns.example/;SharedAccessKeyName=send;SharedAccessKey=marked-secret"


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for the loopback address."""

    file: Path
    keystore: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    key, file, keystore = folder / "key.pem", folder / "certificate.pem", folder / "keystore.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    names = f"subjectAltName=IP:{LOOPBACK},DNS:localhost"
    subprocess.run(
        [*make, "-addext", names, "-keyout", str(key), "-out", str(file)], check=True, capture_output=True
    )
    keystore.write_text(key.read_text() + file.read_text())
    return Certificate(file, keystore)


@pytest.fixture(scope="module")
def event_hubs(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """Settings as for Event Hubs; the topics are those of every test broker."""
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    properties = {
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": (
            f'{login} username="unused" password="unused" user_$ConnectionString="{CONNECTION_STRING}";'
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificate.keystore),
    }
    server = BrokerServer(tmp_path_factory.mktemp("event-hubs"), properties)
    tls = f"{LOOPBACK}:{free_port()}"
    advertised = f"PLAINTEXT://{server.bootstrap},SASL_SSL://{tls}"
    properties["advertised.listeners"] = advertised
    properties["listeners"] = f"{advertised},CONTROLLER://{LOOPBACK}:{server.broker.controller_port}"
    server.broker.prepare()
    try:
        server.start()
        yield KafkaSettings(
            tls, "SASL_SSL", "PLAIN", "$ConnectionString", Secret(CONNECTION_STRING), ca_file=certificate.file
        )
    finally:
        server.stop()


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What will never succeed need not be tried for long."""
    monkeypatch.setattr(client, "CONNECT_MS", 4_000)


def test_records_are_sent_through_tls_and_login(event_hubs: KafkaSettings, reader_for: Any) -> None:
    counts = send_raw(event_hubs, "customers", [Record(b"A", b"1"), Record(b"B", b"2")])
    assert counts.acked == 2
    assert sorted(each.value for each in reader_for(event_hubs).records("customers")) == [b"1", b"2"]


def test_a_wrong_login_is_told_from_an_unreachable_broker_and_shows_no_secret(
    event_hubs: KafkaSettings, caplog: pytest.LogCaptureFixture, short_patience: None
) -> None:
    wrong = replace(event_hubs, password=Secret(CONNECTION_STRING + "-wrong"))
    with pytest.raises(ServiceUnavailable, match="refuses the login") as error:
        send_raw(wrong, "customers", [Record(b"A", b"1")])
    assert event_hubs.bootstrap in str(error.value)
    assert "MEDALLION_KAFKA_PASSWORD" in str(error.value)
    assert "marked-secret" not in str(error.value) + caplog.text


def test_a_certificate_of_an_unknown_authority_is_refused(
    event_hubs: KafkaSettings, short_patience: None
) -> None:
    with pytest.raises(ServiceUnavailable, match=r"(?i)certificate"):
        send_raw(replace(event_hubs, ca_file=None), "customers", [Record(b"A", b"1")])
