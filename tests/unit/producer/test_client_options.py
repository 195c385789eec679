"""From settings to the options of Kafka's Python clients."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from medallion_contracts.errors import ServiceUnavailable, SettingsError
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.producer.client import broker_errors, kafka_client_options

EVENT_HUBS = {
    "MEDALLION_KAFKA_BOOTSTRAP": "ns.servicebus.windows.net:9093",
    "MEDALLION_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "MEDALLION_KAFKA_SASL_MECHANISM": "PLAIN",
    "MEDALLION_KAFKA_USERNAME": "$ConnectionString",
    "MEDALLION_KAFKA_PASSWORD": "Endpoint=sb://ns/;SharedAccessKey=marked-secret",
}


def test_a_local_broker_needs_no_login() -> None:
    options = kafka_client_options(KafkaSettings("127.0.0.1:9092,127.0.0.1:9093"))
    assert options["bootstrap_servers"] == ["127.0.0.1:9092", "127.0.0.1:9093"]
    assert options["security_protocol"] == "PLAINTEXT"
    assert not [name for name in options if name.startswith(("sasl", "ssl"))]


def test_event_hubs_gets_its_login_and_its_times() -> None:
    options = kafka_client_options(KafkaSettings.from_environment(EVENT_HUBS))
    assert options["sasl_mechanism"] == "PLAIN"
    assert options["sasl_plain_username"] == "$ConnectionString"
    assert options["sasl_plain_password"] == EVENT_HUBS["MEDALLION_KAFKA_PASSWORD"]
    assert options["ssl_context"].check_hostname
    assert options["request_timeout_ms"] == 60_000
    assert options["metadata_max_age_ms"] == options["connections_max_idle_ms"] == 180_000


def test_a_file_of_certificates_that_cannot_be_used_is_named_at_once(tmp_path: Path) -> None:
    settings = KafkaSettings.from_environment(EVENT_HUBS)
    empty = tmp_path / "empty.pem"
    empty.touch()
    for file in (empty, tmp_path / "none.pem"):
        with pytest.raises(
            SettingsError, match=f"MEDALLION_KAFKA_CA_FILE: .*{file.name} is no readable PEM file"
        ):
            kafka_client_options(replace(settings, ca_file=file))


def test_a_service_principal_asks_for_tokens_of_the_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Credential:
        def __init__(self, *login: str) -> None:
            asked.append(login)

        def get_token(self, scope: str) -> object:
            asked.append((scope,))
            return type("Token", (), {"token": "a-token"})

    # Entra cannot run here; everything on this side of it is the real thing.
    monkeypatch.setattr("azure.identity.ClientSecretCredential", Credential)
    settings = KafkaSettings.from_environment(
        {
            **EVENT_HUBS,
            "MEDALLION_KAFKA_SASL_MECHANISM": "OAUTHBEARER",
            "MEDALLION_KAFKA_USERNAME": "client",
            "MEDALLION_KAFKA_PASSWORD": "marked-secret",
            "MEDALLION_KAFKA_TENANT_ID": "tenant",
        }
    )
    options = kafka_client_options(settings)
    assert options["sasl_mechanism"] == "OAUTHBEARER"
    assert options["sasl_oauth_token_provider"].token() == "a-token"
    assert asked == [("tenant", "client", "marked-secret"), ("https://ns.servicebus.windows.net/.default",)]


def test_the_client_never_logs_at_the_level_where_it_prints_passwords_and_customers() -> None:
    root = logging.getLogger()
    before = root.level
    try:
        root.setLevel(logging.DEBUG)
        assert not logging.getLogger("kafka.admin.client").isEnabledFor(logging.DEBUG)
        assert not logging.getLogger("kafka.producer.kafka").isEnabledFor(logging.INFO)
    finally:
        root.setLevel(before)


def test_errors_of_the_client_name_address_and_setting_but_no_secret() -> None:
    from kafka.errors import KafkaTimeoutError, SaslAuthenticationFailedError

    settings = KafkaSettings.from_environment(EVENT_HUBS)

    def give_up_connecting() -> None:
        logging.getLogger("kafka.net.manager").warning("connection %s failed: %s", 1, OSError("port closed"))
        raise KafkaTimeoutError("time is over")

    with pytest.raises(ServiceUnavailable) as error, broker_errors(settings):
        give_up_connecting()
    assert "ns.servicebus.windows.net:9093" in str(error.value)
    assert "port closed" in str(error.value)
    assert "MEDALLION_KAFKA_BOOTSTRAP" in str(error.value)
    assert "marked-secret" not in str(error.value)

    refused = pytest.raises(ServiceUnavailable, match="refuses the login; see MEDALLION_KAFKA_USERNAME")
    with refused, broker_errors(settings):
        raise SaslAuthenticationFailedError("no")
