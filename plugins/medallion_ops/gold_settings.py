"""Where gold is and what feeds it; read with all others by `medallion_ops.settings`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from medallion_ops import setting_fields as f
from medallion_store.label_source import has_login
from medallion_store.secret import Secret


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
