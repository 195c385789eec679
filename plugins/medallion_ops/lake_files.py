"""Small JSON files in the lake, as the Airflow side reads and writes them, and its login there.

Spark writes the same files through Hadoop; both replace a file in one step, so a reader sees the old or the
new content, never half of one: a local file by rename, a blob by one put.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.settings import LakeSettings

Json = Mapping[str, Any]


class LakeFiles(Protocol):
    """JSON files by their full path, as `LakePaths` spells it."""

    def read(self, path: str) -> dict[str, Any] | None:
        """The object in the file, or None when there is no such file."""

    def write(self, path: str, content: Json) -> None:
        """Put the object there in one step, in place of what was there."""

    def delete(self, path: str) -> None:
        """Remove the file; no file is fine."""


def lake_files(lake: LakeSettings) -> LakeFiles:
    """The files of this lake: a folder or ADLS Gen2."""
    return _LocalFiles() if lake.is_local else _AzureFiles(lake)


class _LocalFiles:
    def read(self, path: str) -> dict[str, Any] | None:
        try:
            return _parse(Path(path).read_bytes(), path)
        except FileNotFoundError:
            return None

    def write(self, path: str, content: Json) -> None:
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        # In the same folder, so that the rename stays within one file system.
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)  # Spark's driver may run as another user
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def delete(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)


class _AzureFiles:
    def __init__(self, lake: LakeSettings) -> None:
        self._lake = lake

    def read(self, path: str) -> dict[str, Any] | None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return _parse(self._blob(path).download_blob().readall(), path)
        except ResourceNotFoundError:
            return None
        except Exception as error:
            raise self._unavailable(path, error) from error

    def write(self, path: str, content: Json) -> None:
        try:
            self._blob(path).upload_blob(json.dumps(content).encode(), overwrite=True)
        except Exception as error:
            raise self._unavailable(path, error) from error

    def delete(self, path: str) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            self._blob(path).delete_blob()
        except ResourceNotFoundError:
            return
        except Exception as error:
            raise self._unavailable(path, error) from error

    def _blob(self, path: str) -> Any:
        from azure.storage.blob import BlobClient

        parts = urlsplit(path)
        return BlobClient(
            account_url=_blob_service(self._lake),
            container_name=parts.username or "",
            blob_name=parts.path.lstrip("/"),
            credential=self._credential(),
            retry_total=3,
        )

    def _credential(self) -> Any:
        from azure.identity import ClientSecretCredential, ManagedIdentityCredential

        lake = self._lake
        if lake.account_key:
            return {"account_name": account_name(lake), "account_key": lake.account_key.reveal()}
        if lake.client_secret and lake.tenant_id and lake.client_id:
            return ClientSecretCredential(lake.tenant_id, lake.client_id, lake.client_secret.reveal())
        return ManagedIdentityCredential(client_id=lake.client_id)

    def _unavailable(self, path: str, error: Exception) -> ServiceUnavailable:
        # The class only: a client library's message may quote signed headers.
        return ServiceUnavailable(
            f"the lake does not answer for {path} ({type(error).__name__}): check MEDALLION_LAKE_URI, "
            f"MEDALLION_LAKE_AUTH ({self._lake.auth}) and that its identity may write blobs"
        )


def account_name(lake: LakeSettings) -> str:
    """The storage account's name, out of abfss://container@account.dfs.core.windows.net."""
    return (urlsplit(lake.uri).hostname or "").partition(".")[0]


def _blob_service(lake: LakeSettings) -> str:
    if lake.endpoint:  # Azurite has the account in the path
        return f"http://{lake.endpoint}/{account_name(lake)}"
    return f"https://{(urlsplit(lake.uri).hostname or '').replace('.dfs.', '.blob.')}"


def delta_storage_options(lake: LakeSettings) -> dict[str, str]:
    """What `deltalake.DeltaTable(uri, storage_options=...)` needs to log in; holds secrets, never log it."""
    if lake.is_local:
        return {}
    options = {"azure_storage_account_name": account_name(lake)}
    if lake.endpoint:
        # An emulator lists a log otherwise than Azure does, so delta-rs must know that it is one; it takes an
        # emulator's address from the environment alone.
        os.environ["AZURITE_BLOB_STORAGE_URL"] = f"http://{lake.endpoint}"
        options["azure_storage_use_emulator"] = "true"
    if lake.tenant_id:
        options["azure_tenant_id"] = lake.tenant_id
    if lake.client_id:
        options["azure_client_id"] = lake.client_id
    if lake.client_secret:
        options["azure_client_secret"] = lake.client_secret.reveal()
    if lake.account_key:
        options["azure_storage_account_key"] = lake.account_key.reveal()
    return options


def _parse(content: bytes, path: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ServiceUnavailable(f"{path} does not hold a JSON object: remove it if nobody knows what it is")
    return value


def age_seconds(moment: object, now: datetime) -> float | None:
    """Seconds from an ISO 8601 moment (UTC if it names no offset) to `now`; None when it is no such text."""
    if not isinstance(moment, str):
        return None
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return (now - (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))).total_seconds()
