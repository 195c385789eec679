"""How a job logs in to the lake: Hadoop's settings for Spark, and the login of everything else.

Secrets come from the secrets file of the process and go into the Hadoop configuration of the running
context: never into arguments or Spark properties, which the cluster's pages and logs show.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pyspark.sql import SparkSession

from medallion_contracts.errors import ParameterError
from medallion_contracts.loader import dataset_names
from medallion_spark.session.secrets import required_secret
from medallion_store.lake_login import LakeLogin

AUTHS = ("none", "service_principal", "managed_identity", "shared_key")


@dataclass(frozen=True)
class LakeAccess:
    """A lake root and how to log in there; `endpoint` is host:port of an Azure emulator."""

    uri: str
    auth: str = "none"
    tenant_id: str | None = None
    client_id: str | None = None
    endpoint: str | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.auth not in AUTHS:
            problems.append(f"--lake-auth is {self.auth!r}: one of {', '.join(AUTHS)}")
        if self.auth == "service_principal" and not (self.tenant_id and self.client_id):
            problems.append("--lake-auth=service_principal needs --lake-tenant-id and --lake-client-id")
        if self.is_local != (self.auth == "none"):
            problems.append(f"--lake-auth={self.auth} does not fit --lake-uri={self.uri}")
        if problems:
            raise ParameterError("the lake cannot be opened", problems)

    @property
    def is_local(self) -> bool:
        """Whether the lake is a folder that every worker sees under the same path."""
        return "://" not in self.uri or self.uri.startswith("file:")

    @property
    def host(self) -> str:
        """Host of the account, e.g. `account.dfs.core.windows.net`."""
        return urlsplit(self.uri).hostname or ""

    @property
    def login(self) -> LakeLogin:
        """The same with its secrets, as delta-rs and the control files log in.

        Raises:
            SettingsError: a secret is missing.
        """
        return LakeLogin(
            uri=self.uri,
            auth=self.auth,
            tenant_id=self.tenant_id,
            client_id=self.client_id,
            endpoint=self.endpoint,
            client_secret=(
                required_secret("MEDALLION_LAKE_CLIENT_SECRET") if self.auth == "service_principal" else None
            ),
            account_key=required_secret("MEDALLION_LAKE_ACCOUNT_KEY") if self.auth == "shared_key" else None,
        )


def add_lake_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that `lake_access` reads."""
    group = parser.add_argument_group("lake")
    group.add_argument(
        "--dataset",
        choices=dataset_names(),
        default=dataset_names()[0],
        help="dataset, by its contracts (default: %(default)s)",
    )
    group.add_argument(
        "--lake-uri", required=True, help="folder, or abfss://<container>@<account>.dfs.core.windows.net"
    )
    group.add_argument("--lake-auth", default="none", choices=AUTHS, help="(default: %(default)s)")
    group.add_argument("--lake-tenant-id", help="Entra tenant of the service principal")
    group.add_argument(
        "--lake-client-id", help="client id of the service principal or the user-assigned managed identity"
    )
    group.add_argument("--lake-endpoint", help="host:port of an Azure emulator (Azurite)")


def lake_access(arguments: argparse.Namespace) -> LakeAccess:
    """The lake that the arguments name.

    Raises:
        ParameterError: they do not fit together.
    """
    return LakeAccess(
        uri=arguments.lake_uri,
        auth=arguments.lake_auth,
        tenant_id=arguments.lake_tenant_id,
        client_id=arguments.lake_client_id,
        endpoint=arguments.lake_endpoint,
    )


def log_in(spark: SparkSession, lake: LakeAccess) -> None:
    """Give the running session what it needs to read and write the lake.

    Raises:
        SettingsError: a secret is missing.
    """
    hadoop = spark._jsc.hadoopConfiguration()
    for name, value in _hadoop_settings(lake).items():
        hadoop.set(name, value)


def _hadoop_settings(lake: LakeAccess) -> Mapping[str, str]:
    if lake.is_local:
        return {}
    settings: dict[str, str] = {}
    login = "fs.azure.account"
    if lake.auth == "shared_key":
        key = required_secret("MEDALLION_LAKE_ACCOUNT_KEY")
        settings[f"{login}.auth.type.{lake.host}"] = "SharedKey"
        settings[f"{login}.key.{lake.host}"] = key
        settings[f"{login}.key.{lake.host.replace('.dfs.', '.blob.')}"] = key
    else:
        providers = "org.apache.hadoop.fs.azurebfs.oauth2"
        settings[f"{login}.auth.type.{lake.host}"] = "OAuth"
        if lake.auth == "service_principal":
            settings[f"{login}.oauth.provider.type.{lake.host}"] = f"{providers}.ClientCredsTokenProvider"
            settings[f"{login}.oauth2.client.endpoint.{lake.host}"] = (
                f"https://login.microsoftonline.com/{lake.tenant_id}/oauth2/token"
            )
            settings[f"{login}.oauth2.client.id.{lake.host}"] = lake.client_id or ""
            settings[f"{login}.oauth2.client.secret.{lake.host}"] = required_secret(
                "MEDALLION_LAKE_CLIENT_SECRET"
            )
        else:
            settings[f"{login}.oauth.provider.type.{lake.host}"] = f"{providers}.MsiTokenProvider"
            if lake.client_id:
                settings[f"{login}.oauth2.client.id.{lake.host}"] = lake.client_id
    if lake.endpoint:
        # Azurite speaks the Blob dialect only, over plain HTTP, and has no hierarchical namespace.
        settings |= {
            "fs.azure.abfs.endpoint": lake.endpoint,
            "fs.azure.always.use.https": "false",
            "fs.azure.account.hns.enabled": "false",
            "fs.azure.fns.account.service.type": "BLOB",
            "fs.azure.networking.library": "JDK_HTTP_URL_CONNECTION",
        }
    return settings
