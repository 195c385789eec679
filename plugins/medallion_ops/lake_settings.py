"""Where the lake is; read with all others by `medallion_ops.settings`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from medallion_ops import setting_fields as f
from medallion_store.lake_login import LakeLogin
from medallion_store.secret import Secret


@dataclass(frozen=True)
class LakeSettings(f.Section):
    """Where the lake is and how to log in there."""

    TITLE: ClassVar[str] = "Lake"

    uri: str = f.setting(
        "LAKE_URI",
        f.lake_uri,
        "root of the lake: a folder that all workers share, or ADLS Gen2",
        example="abfss://lake@account.dfs.core.windows.net",
        required=True,
    )
    auth: str = f.setting(
        "LAKE_AUTH",
        partial(f.choice, of=("none", "service_principal", "managed_identity", "shared_key")),
        "none (a folder), service_principal, managed_identity or shared_key",
        default="none",
        example="managed_identity",
    )
    tenant_id: str | None = f.setting("LAKE_TENANT_ID", f.text, "Entra tenant of the service principal")
    client_id: str | None = f.setting(
        "LAKE_CLIENT_ID", f.text, "client id of the service principal or of a user-assigned managed identity"
    )
    client_secret: Secret | None = f.setting(
        "LAKE_CLIENT_SECRET", f.secret, "secret of the service principal"
    )
    account_key: Secret | None = f.setting(
        "LAKE_ACCOUNT_KEY", f.secret, "key of the storage account (shared_key)"
    )
    endpoint: str | None = f.setting(
        "LAKE_ENDPOINT",
        f.servers,
        "address of an Azurite blob service, instead of Azure; the lake is abfs://... then",
        example="127.0.0.1:10000",
    )

    @property
    def is_local(self) -> bool:
        """Whether the lake is a folder."""
        return self.uri.startswith("/")

    @property
    def login(self) -> LakeLogin:
        """The same, as both sides of the platform log in; holds secrets in clear."""
        return LakeLogin(
            uri=self.uri,
            auth=self.auth,
            tenant_id=self.tenant_id,
            client_id=self.client_id,
            endpoint=self.endpoint,
            client_secret=self.client_secret.reveal() if self.client_secret else None,
            account_key=self.account_key.reveal() if self.account_key else None,
        )

    def _contradictions(self) -> Iterator[str]:
        if self.is_local and self.auth != "none":
            yield f"MEDALLION_LAKE_AUTH is {self.auth}, but MEDALLION_LAKE_URI is a folder: use none"
        if not self.is_local and self.auth == "none":
            yield (
                "MEDALLION_LAKE_AUTH is none, but MEDALLION_LAKE_URI is in Azure: use service_principal, "
                "managed_identity or shared_key"
            )
        if self.endpoint and self.uri.startswith("abfss:"):
            yield (
                "MEDALLION_LAKE_URI begins with abfss:, but Azurite (MEDALLION_LAKE_ENDPOINT) speaks plain "
                "HTTP: write abfs:"
            )
        because = f"MEDALLION_LAKE_AUTH is {self.auth}"
        if self.auth == "service_principal":
            yield from self._missing("tenant_id", "client_id", "client_secret", because=because)
        if self.auth == "shared_key":
            yield from self._missing("account_key", because=because)
