"""When certificates and secrets end."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from medallion_ops.monitor.expiry_view import certificate_end, expiries
from settings_of_tests import MARKED, settings

END = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate with its key that ends at END."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(END - timedelta(days=400))
        .not_valid_after(END)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    kind = serialization.PrivateFormat.PKCS8
    content = key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
    file.write_bytes(content + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def serve(certificate: Path) -> Iterator[Callable[[bytes], int]]:
    """Answers one client, after Postgres' request for TLS with `answer` where it is given; gives the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    servers = []

    def start(answer: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def run() -> None:
            with suppress(OSError):
                plain, _ = server.accept()
                with plain:
                    if answer:
                        plain.recv(8)
                        plain.sendall(answer)
                    if answer != b"N":
                        context.wrap_socket(plain, server_side=True).close()

        Thread(target=run, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(("answer", "end"), [(b"", END), (b"S", END), (b"N", None)])
def test_the_end_of_a_certificate_is_read_from_the_service_also_as_postgres_shows_it(
    serve: Callable[[bytes], int], answer: bytes, end: datetime | None
) -> None:
    assert certificate_end("127.0.0.1", serve(answer), is_postgres=bool(answer)) == end


def test_a_service_that_does_not_answer_has_no_end() -> None:
    assert certificate_end("127.0.0.1", 9) is None


def test_secrets_end_when_a_person_or_they_themselves_say() -> None:
    end = int(END.timestamp())
    chosen = settings(
        KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        KAFKA_PASSWORD=f"SharedAccessSignature sr=ns&sig={MARKED}&se={end}&skn=a",
        AIRFLOW_URL="http://127.0.0.1:8080",
        SECRETS_EXPIRE="client secret of the lake=2027-03-01",
    )
    found = {one.name: one.at for one in expiries(chosen)}
    assert list(found.values()) == [datetime(2027, 3, 1, tzinfo=UTC), END]
    assert MARKED not in str(found)
