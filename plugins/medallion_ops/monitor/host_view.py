"""What the monitor sees of its host and of certificates: free space, and what runs out."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from medallion_ops.monitor.observation import Disk, Expiry
from medallion_ops.settings import Settings

TIMEOUT_SECONDS = 3


def disks(folders: Iterable[Path]) -> tuple[Disk, ...]:
    """Free space of the file systems that hold these folders, each once.

    Args:
        folders: those that do not exist count as their nearest parent that does.
    """
    found: dict[int, Disk] = {}
    for folder in folders:
        there = next((path for path in (folder, *folder.parents) if path.exists()), None)
        if there is None:
            continue
        usage = shutil.disk_usage(there)
        found.setdefault(there.stat().st_dev, Disk(str(folder), 100 * usage.free / usage.total))
    return tuple(found.values())


def watched_folders(settings: Settings) -> tuple[Path, ...]:
    """Folders of this host that the platform writes to."""
    lake = [Path(settings.lake.uri)] if settings.lake.is_local else []
    docs = [settings.gold.data_docs_dir] if settings.gold.data_docs_dir else []
    return (*lake, *docs, *([settings.alerts.outbox] if settings.alerts.outbox else []), Path("/tmp"))  # noqa: S108


def expiries(settings: Settings) -> tuple[Expiry, ...]:
    """Certificates of the services that are spoken to by TLS; one that cannot be asked is left to others."""
    addresses = {}
    if settings.kafka.security_protocol in ("SSL", "SASL_SSL"):
        addresses["certificate of the broker"] = settings.kafka.bootstrap.split(",")[0]
    for name, url in (
        ("certificate of Airflow", settings.alerts.airflow_url),
        ("certificate of the Data Docs", settings.gold.data_docs_url),
    ):
        parts = urlsplit(url or "")
        if parts.scheme == "https" and parts.hostname:
            addresses[name] = f"{parts.hostname}:{parts.port or 443}"
    found = []
    for name, address in addresses.items():
        at = _certificate_end(address)
        if at is not None:
            found.append(Expiry(f"The {name} at {address}", at))
    return tuple(found)


def _certificate_end(address: str) -> datetime | None:
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    # Whether it is trusted is the client's matter; here only its end is read.
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            content = secure.getpeercert(binary_form=True)
    except (OSError, ValueError):
        return None
    if content is None:
        return None
    from cryptography.x509 import load_der_x509_certificate

    return load_der_x509_certificate(content).not_valid_after_utc.astimezone(UTC)
