"""Every setting of the platform's Airflow side: the one module here that reads the environment.

A setting is declared once, as a dataclass field with `f.setting(...)`: its name, parser, default, example and
description. `Settings.from_environment()` reads all of them and reports every problem at once; a command that
needs one service only reads that section, e.g. `KafkaSettings.from_environment()`. The README's table is
`settings_table()`.

Secrets are `Secret` objects: printing, logging or formatting one shows `***`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from medallion_contracts.errors import SettingsError
from medallion_contracts.loader import dataset_names
from medallion_ops import setting_fields as f
from medallion_ops.dataset_settings import DatasetSettings
from medallion_ops.job_settings import JobSettings
from medallion_ops.keep_settings import KeepSettings
from medallion_ops.limit_settings import LimitSettings
from medallion_ops.monitor.settings import MonitorSettings
from medallion_ops.page.settings import PageSettings
from medallion_ops.stream_settings import StreamSettings
from medallion_ops.watch.settings import WatchSettings
from medallion_store.label_source import has_login
from medallion_store.lake_login import LakeLogin
from medallion_store.secret import Secret


@dataclass(frozen=True)
class KafkaSettings(f.Section):
    """How to reach the broker: a Kafka broker or Azure Event Hubs."""

    TITLE: ClassVar[str] = "Broker"

    bootstrap: str = f.setting(
        "KAFKA_BOOTSTRAP",
        f.servers,
        "address of the Kafka broker or Event Hubs namespace",
        example="ns.servicebus.windows.net:9093",
        required=True,
    )
    security_protocol: str = f.setting(
        "KAFKA_SECURITY_PROTOCOL",
        partial(f.choice, of=("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")),
        "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL (Event Hubs)",
        default="PLAINTEXT",
        example="SASL_SSL",
    )
    sasl_mechanism: str | None = f.setting(
        "KAFKA_SASL_MECHANISM",
        partial(f.choice, of=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")),
        "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER (a service principal)",
        example="PLAIN",
    )
    username: str | None = f.setting(
        "KAFKA_USERNAME",
        f.text,
        "login name; `$ConnectionString` for Event Hubs; the client id with OAUTHBEARER",
        example="$ConnectionString",
    )
    password: Secret | None = f.setting(
        "KAFKA_PASSWORD",
        f.secret,
        "password; the connection string for Event Hubs; the client secret with OAUTHBEARER",
    )
    tenant_id: str | None = f.setting(
        "KAFKA_TENANT_ID", f.text, "Entra tenant of the service principal (OAUTHBEARER)"
    )
    ca_file: Path | None = f.setting(
        "KAFKA_CA_FILE",
        f.absolute_path,
        "PEM file of the authority that signed the broker's certificate, if it is not a public one",
        example="/etc/ssl/broker-ca.pem",
    )

    def _contradictions(self) -> Iterator[str]:
        if self.security_protocol.startswith("SASL_"):
            because = f"MEDALLION_KAFKA_SECURITY_PROTOCOL is {self.security_protocol}"
            yield from self._missing("sasl_mechanism", "username", "password", because=because)
        if self.sasl_mechanism == "OAUTHBEARER":
            yield from self._missing("tenant_id", because="MEDALLION_KAFKA_SASL_MECHANISM is OAUTHBEARER")


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


@dataclass(frozen=True)
class SparkSettings(f.Section):
    """The Spark cluster and what the workers find on their disks."""

    TITLE: ClassVar[str] = "Cluster"

    master: str = f.setting(
        "SPARK_MASTER",
        f.spark_master,
        "the standalone master",
        example="spark://spark-master:7077",
        required=True,
    )
    rest: str = f.setting(
        "SPARK_REST",
        f.http_url,
        "the master's submission service; it has no login, keep it on a private network",
        example="http://spark-master:6066",
        required=True,
    )
    jars: Path = f.setting(
        "SPARK_JARS",
        f.absolute_path,
        "folder with the jars of pom.xml, the same path on every worker and on Airflow's",
        example="/opt/medallion/jars",
        required=True,
    )
    jobs_dir: Path = f.setting(
        "JOBS_DIR",
        f.absolute_path,
        "folder with the entry scripts and medallion.zip (packages), the same path on every worker",
        example="/opt/medallion/jobs",
        required=True,
    )
    secrets_file: Path = f.setting(
        "SECRETS_FILE",
        f.absolute_path,
        "file with KEY=VALUE lines of the secret settings, mode 0600, the same path on every worker",
        example="/run/secrets/medallion",
        required=True,
    )
    python: str = f.setting(
        "SPARK_PYTHON", f.text, "Python 3 on the workers, with pyspark's needs", default="python3"
    )


@dataclass(frozen=True)
class GoldSettings(f.Section):
    """Postgres, and what feeds and explains gold."""

    TITLE: ClassVar[str] = "Gold"

    dsn: Secret = f.setting(
        "GOLD_DSN",
        f.postgres_dsn,
        "Postgres as medallion_writer",
        example="postgresql://medallion_writer:...@db:5432/gold?sslmode=verify-full",
        required=True,
    )
    reader_dsn: Secret | None = f.setting(
        "READER_DSN", f.postgres_dsn, "Postgres as gold_reader: sees no PII"
    )
    churn_source: str | None = f.setting(
        "CHURN_SOURCE",
        f.text,
        "table of churn outcomes: a CSV file, a Delta table, or jdbc:postgresql://host/db?table=schema.name",
        example="/data/churn.csv",
    )
    churn_username: str | None = f.setting(
        "CHURN_USERNAME", f.text, "login to a JDBC address; in the secrets file too", example="churn_reader"
    )
    churn_password: Secret | None = f.setting(
        "CHURN_PASSWORD", f.secret, "password to a JDBC address; in the secrets file too"
    )
    local_rows: int = f.setting(
        "GOLD_LOCAL_ROWS",
        partial(f.whole_number, at_least=0, at_most=1_000_000),
        "up to so many new rows of silver the hour's job works in its driver, without the cluster; 0: never",
        default="60000",
        example="0",
    )
    data_docs_dir: Path | None = f.setting(
        "DATA_DOCS_DIR", f.absolute_path, "folder for the gate's Data Docs", example="/srv/data_docs"
    )
    data_docs_url: str | None = f.setting(
        "DATA_DOCS_URL",
        f.link,
        "address under which people open the Data Docs; none: the page in Airflow, behind its login",
        example="https://docs.example.com/gate",
    )

    def _contradictions(self) -> Iterator[str]:
        if self.churn_source and has_login(self.churn_source):
            # It is an argument of the Spark job, and named in gold.
            yield (
                "MEDALLION_CHURN_SOURCE holds a login or a key: put it into MEDALLION_CHURN_USERNAME and "
                "MEDALLION_CHURN_PASSWORD"
            )


@dataclass(frozen=True)
class ProducerSettings(f.Section):
    """What the producer's DAG may read."""

    TITLE: ClassVar[str] = "Producer"

    folder: Path | None = f.setting(
        "PRODUCER_DIR",
        f.absolute_path,
        "folder on Airflow's workers from which the producer's DAG may send files; none, no file",
        example="/srv/incoming",
    )


@dataclass(frozen=True)
class AlertSettings(f.Section):
    """Who gets mail, and where its links lead."""

    TITLE: ClassVar[str] = "Alerts"

    to: tuple[str, ...] = f.setting(
        "ALERT_TO",
        f.mail_addresses,
        "recipients of alerts, separated by commas",
        example="data@example.com",
        required=True,
    )
    sender: str = f.setting(
        "ALERT_FROM",
        f.mail_address,
        "sender of alerts",
        default="medallion@localhost",
        example="medallion@example.com",
    )
    airflow_url: str | None = f.setting(
        "AIRFLOW_URL",
        f.http_url,
        "address under which people open Airflow",
        example="https://airflow.example.com",
    )
    outbox: Path | None = f.setting(
        "ALERT_OUTBOX",
        f.absolute_path,
        "folder for alerts that neither the mail server nor Postgres takes; they are sent later",
        example="/var/lib/medallion/outbox",
    )
    webhook: Secret | None = f.setting(
        "ALERT_WEBHOOK",
        f.secret_url,
        "address that gets every alert as JSON too",
        example="https://hooks.slack.com/services/...",
    )
    webhook_format: str = f.setting(
        "ALERT_WEBHOOK_FORMAT",
        partial(f.choice, of=("slack", "teams", "pagerduty")),
        "slack (Mattermost and others alike), teams, or pagerduty (its routing key as `?routing_key=`)",
        default="slack",
        example="teams",
    )


SECTIONS: Mapping[str, type[f.Section]] = {
    "datasets": DatasetSettings,
    "kafka": KafkaSettings,
    "lake": LakeSettings,
    "spark": SparkSettings,
    "gold": GoldSettings,
    "producer": ProducerSettings,
    "stream": StreamSettings,
    "jobs": JobSettings,
    "alerts": AlertSettings,
    "limits": LimitSettings,
    "monitor": MonitorSettings,
    "watch": WatchSettings,
    "page": PageSettings,
    "keep": KeepSettings,
}


@dataclass(frozen=True)
class Settings:
    """All settings."""

    datasets: DatasetSettings
    kafka: KafkaSettings
    lake: LakeSettings
    spark: SparkSettings
    gold: GoldSettings
    producer: ProducerSettings
    stream: StreamSettings
    jobs: JobSettings
    alerts: AlertSettings
    limits: LimitSettings
    monitor: MonitorSettings
    watch: WatchSettings
    page: PageSettings
    keep: KeepSettings

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, dataset: str | None = None
    ) -> Settings:
        """Read every section.

        Args:
            environ: The environment.
            dataset: Whose values to take, where a dataset may have its own; None checks those of all.

        Raises:
            SettingsError: A setting is missing or not valid; lists all of them, across the sections.
        """
        problems: list[str] = []
        read: dict[str, Any] = {
            name: section.read(environ, problems, dataset) for name, section in SECTIONS.items()
        }
        problems.extend(problems_of_overrides(environ))
        if problems:
            raise SettingsError(f.SUBJECT, problems)
        return cls(**read)


def declarations() -> Iterator[tuple[str, f.Declaration]]:
    """Every setting with the title of its section, in the order of the README."""
    for section in SECTIONS.values():
        for _, declaration in section.declarations():
            yield section.TITLE, declaration


def overridable() -> dict[str, f.Declaration]:
    """Settings that a dataset may have values of its own for, by name."""
    sections = [section for section in SECTIONS.values() if section.PER_DATASET]
    return {one.name: one for section in sections for _, one in section.declarations()}


def problems_of_overrides(environ: Mapping[str, str]) -> Iterator[str]:
    """A name that no one reads changes nothing, in silence; a wrong value shows when its dataset runs."""
    known = {one.name for _, one in declarations()}
    given = {name: value.strip() for name, value in environ.items() if name not in known and value.strip()}
    for dataset in dataset_names():
        own = {one.name_for(dataset): one for one in overridable().values()}
        for name in sorted(name for name in given if name.startswith(f"MEDALLION_{dataset.upper()}_")):
            if name not in own:
                yield f"{name}: only these may differ by dataset: {', '.join(sorted(overridable()))}"
                continue
            try:
                own[name].parse(given[name])
            except ValueError as error:
                yield f"{name}: the value {error}"


def settings_table() -> str:
    """The README's table of settings, in Markdown."""
    own = overridable()
    lines = ["| setting | default | what it is | example |", "|---|---|---|---|"]
    for _, one in declarations():
        default = "**required**" if one.is_required else f"`{one.default}`" if one.default else "-"
        example = f"`{one.example}`" if one.example else "-"
        secret = " (secret)" if one.is_secret else " (by dataset)" if one.name in own else ""
        lines.append(f"| `{one.name}` | {default} | {one.description}{secret} | {example} |")
    return "\n".join(lines)
