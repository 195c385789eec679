"""The login to the lake: one set of options, understood by delta-rs and by obstore alike."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class LakeLogin:
    """A lake root and how to log in there.

    Args:
        uri: a folder, or abfss://container@account.dfs.core.windows.net[/path].
        auth: none (a folder), service_principal, managed_identity or shared_key.
        tenant_id: of the service principal.
        client_id: of the service principal or of a user-assigned managed identity.
        endpoint: host:port of an Azure emulator.
        client_secret: of the service principal; never shown.
        account_key: of the storage account; never shown.
    """

    uri: str
    auth: str = "none"
    tenant_id: str | None = None
    client_id: str | None = None
    endpoint: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    account_key: str | None = field(default=None, repr=False)

    @property
    def is_local(self) -> bool:
        """Whether the lake is a folder."""
        return "://" not in self.uri or self.uri.startswith("file:")

    @property
    def account(self) -> str:
        """Name of the storage account."""
        return (urlsplit(self.uri).hostname or "").partition(".")[0]


def delta_storage_options(login: LakeLogin) -> dict[str, str]:
    """What `deltalake` needs to log in (`storage_options`); holds secrets, never log it."""
    if login.is_local:
        return {}
    options = {"azure_storage_account_name": login.account}
    if login.endpoint:
        # An emulator lists a log otherwise than Azure does, so delta-rs must know that it is one; it takes an
        # emulator's address from the environment alone.
        os.environ["AZURITE_BLOB_STORAGE_URL"] = f"http://{login.endpoint}"
        options["azure_storage_use_emulator"] = "true"
    return options | _credentials(login)


def blob_store_options(login: LakeLogin) -> dict[str, str]:
    """What obstore's `AzureStore` needs to log in (`config`); holds secrets, never log it."""
    options = {"azure_storage_account_name": login.account}
    if login.endpoint:
        # An emulator has the account in the path.
        options["azure_storage_endpoint"] = f"http://{login.endpoint}/{login.account}"
    return options | _credentials(login)


def _credentials(login: LakeLogin) -> dict[str, str]:
    """By kind of login: a setting that is left over from another kind is not used."""
    found = {
        "service_principal": {
            "azure_tenant_id": login.tenant_id,
            "azure_client_id": login.client_id,
            "azure_client_secret": login.client_secret,
        },
        "managed_identity": {"azure_client_id": login.client_id},
        "shared_key": {"azure_storage_account_key": login.account_key},
    }.get(login.auth, {})
    return {name: value for name, value in found.items() if value}
