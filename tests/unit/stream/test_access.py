"""How jobs log in: what is asked for, what is refused, and that secrets stay out of what is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medallion_contracts.errors import ParameterError, SettingsError
from medallion_spark.session.lake_access import LakeAccess
from medallion_spark.stream.options import StreamOptions
from medallion_spark.stream.progress import lag_records
from medallion_spark.stream.source import KafkaAccess, client_options
from medallion_store.lake_login import delta_storage_options

SECRET = 'Endpoint=sb://x/;SharedAccessKey=a"b\\c='
URI = "abfss://lake@account.dfs.core.windows.net"


@pytest.fixture
def secrets_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "secrets"
    file.write_text(f"MEDALLION_KAFKA_PASSWORD={SECRET}\nMEDALLION_LAKE_ACCOUNT_KEY=key==\n")
    monkeypatch.setenv("MEDALLION_SECRETS_FILE", str(file))
    return file


def test_a_plain_broker_needs_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDALLION_SECRETS_FILE", raising=False)
    options = client_options(KafkaAccess("127.0.0.1:9092"))
    assert options["bootstrap.servers"] == "127.0.0.1:9092"
    assert "sasl.jaas.config" not in options


@pytest.mark.usefixtures("secrets_file")
def test_event_hubs_login_quotes_what_jaas_would_misread() -> None:
    kafka = KafkaAccess("x:9093", "SASL_SSL", "PLAIN", "$ConnectionString")
    jaas = client_options(kafka)["sasl.jaas.config"]
    assert 'username="$ConnectionString"' in jaas
    assert 'password="Endpoint=sb://x/;SharedAccessKey=a\\"b\\\\c="' in jaas
    assert SECRET not in repr(kafka)


@pytest.mark.usefixtures("secrets_file")
def test_a_service_principal_asks_for_a_token_of_the_namespace() -> None:
    kafka = KafkaAccess("ns.servicebus.windows.net:9093", "SASL_SSL", "OAUTHBEARER", "client", "tenant")
    options = client_options(kafka)
    assert "/tenant/" in options["sasl.oauthbearer.token.endpoint.url"]
    assert 'scope="https://ns.servicebus.windows.net/.default"' in options["sasl.jaas.config"]


def test_a_missing_secret_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_SECRETS_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="MEDALLION_SECRETS_FILE"):
        client_options(KafkaAccess("x:9093", "SASL_SSL", "PLAIN", "u"))


def test_all_problems_of_the_arguments_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        StreamOptions(trigger_seconds=-1, watermark_minutes=-2, max_offsets_per_trigger=0)
    assert len(caught.value.problems) == 3
    with pytest.raises(ParameterError, match="--kafka-username"):
        KafkaAccess("x", "SASL_SSL", "PLAIN")
    with pytest.raises(ParameterError, match="does not fit"):
        LakeAccess("/a/folder", "shared_key")
    with pytest.raises(ParameterError, match="--lake-tenant-id"):
        LakeAccess(URI, "service_principal")


@pytest.mark.usefixtures("secrets_file")
def test_the_same_login_for_delta_rs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", "")  # put back afterwards
    assert delta_storage_options(LakeAccess("/a/folder").login) == {}
    options = delta_storage_options(LakeAccess(URI, "shared_key", endpoint="127.0.0.1:10000").login)
    assert options["azure_storage_account_key"] == "key=="
    assert options["azure_storage_use_emulator"] == "true"
    assert os.environ["AZURITE_BLOB_STORAGE_URL"] == "http://127.0.0.1:10000"


def test_lag_is_what_the_broker_has_and_the_query_has_not_read() -> None:
    source = {
        "endOffset": {"customers": {"0": 5, "1": 7}},
        "latestOffset": '{"customers": {"0": 9, "1": 7}, "customers_replay": {"0": 2}}',
    }
    assert lag_records({"sources": [source]}) == 6
    assert lag_records({"sources": [{"endOffset": None, "latestOffset": None}]}) == 0
