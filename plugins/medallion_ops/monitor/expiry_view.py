"""What runs out: certificates that services show, and secrets whose end is known."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, time
from urllib.parse import urlsplit

from medallion_ops.gold_settings import GoldSettings
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.monitor.observation import Expiry
from medallion_ops.settings import Settings
from medallion_store.postgres_address import libpq_parameters

TIMEOUT_SECONDS = 3
_SAS_END = re.compile(r"SharedAccessSignature .*?\bse=(\d{9,11})\b")
_POSTGRES_TLS = ("require", "verify-ca", "verify-full")
_ASK_POSTGRES_FOR_TLS = struct.pack("!ii", 8, 80_877_103)


def expiries(settings: Settings) -> tuple[Expiry, ...]:
    """When certificates and secrets end; a service that does not answer is left to others.

    Args:
        settings: of the platform.
    """
    found = [
        Expiry(f"The {name} at {host}:{port}", at)
        for name, host, port, is_postgres in _services(settings)
        if (at := certificate_end(host, port, is_postgres=is_postgres)) is not None
    ]
    return (*found, *_secrets(settings))


def _services(settings: Settings) -> Iterator[tuple[str, str, int, bool]]:
    """What is spoken to by TLS: name, host, port, whether it is asked as Postgres is."""
    if settings.kafka.security_protocol in ("SSL", "SASL_SSL"):
        host, _, port = settings.kafka.bootstrap.split(",")[0].rpartition(":")
        yield "certificate of the broker", host, int(port), False
    for name, url in (
        ("certificate of Airflow", settings.alerts.airflow_url),
        ("certificate of the Data Docs", settings.gold.data_docs_url),
    ):
        parts = urlsplit(url or "")
        if parts.scheme == "https" and parts.hostname:
            yield name, parts.hostname, parts.port or 443, False
    yield from _postgres_hosts(settings.gold)


def _postgres_hosts(gold: GoldSettings) -> Iterator[tuple[str, str, int, bool]]:
    parts = libpq_parameters(gold.dsn)
    if parts.get("sslmode") not in _POSTGRES_TLS:
        return
    hosts, ports = str(parts.get("host", "")).split(","), str(parts.get("port") or "5432").split(",")
    for place, host in enumerate(hosts):
        if host and not host.startswith("/"):
            port = ports[place] if len(ports) == len(hosts) else ports[0]
            yield "certificate of Postgres", host, int(port or 5432), True


def _secrets(settings: Settings) -> Iterator[Expiry]:
    for name, day in settings.monitor.secrets_expire:
        yield Expiry(f"The secret '{name}'", datetime.combine(day, time(), UTC))
    end = sas_end(settings.kafka)
    if end is not None:
        yield Expiry("The shared access signature in MEDALLION_KAFKA_PASSWORD", end)


def sas_end(kafka: KafkaSettings) -> datetime | None:
    """When the shared access signature that the broker's password holds ends; None when it holds none."""
    found = _SAS_END.search(kafka.password.reveal()) if kafka.password else None
    return datetime.fromtimestamp(int(found[1]), UTC) if found else None


def certificate_end(host: str, port: int, *, is_postgres: bool = False) -> datetime | None:
    """When the certificate that a service shows ends; None when it shows none.

    Args:
        host: of the service.
        port: of the service.
        is_postgres: Postgres is asked for TLS before it speaks it.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    # Whether it is trusted is the client's matter; here only its end is read.
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_SECONDS) as plain:
            if is_postgres:
                plain.sendall(_ASK_POSTGRES_FOR_TLS)
                if plain.recv(1) != b"S":
                    return None
            with context.wrap_socket(plain, server_hostname=host) as secure:
                content = secure.getpeercert(binary_form=True)
    except (OSError, ValueError):
        return None
    if content is None:
        return None
    from cryptography.x509 import load_der_x509_certificate

    return load_der_x509_certificate(content).not_valid_after_utc.astimezone(UTC)
