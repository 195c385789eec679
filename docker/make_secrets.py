"""Makes the passwords of a new compose stack, once, in the volume that its services share.

Files, each readable by its one reader only: `airflow.env`, shell assignments for Airflow's containers;
`secrets.env`, KEY=VALUE for Spark jobs; a password file for each Postgres role, which Postgres's own first
start reads. What exists stays as it is, so running this again changes nothing; what the volume of an earlier
version lacks (a login, a setting) is added. Runs as root, to give the files away.
"""

from __future__ import annotations

import json
import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path("/run/medallion")
OURS = 50000
"""User id of our image."""
POSTGRES = 999
"""User id of the Postgres image."""
AIRFLOW_USERS = {"admin": "login", "operator": "operator", "viewer": "viewer", "monitor": "monitor"}
ROLES = ("postgres", "airflow", "medallion_writer", "gold_reader", "gold_pii_reader")


def main() -> None:
    """Make every file that is not there."""
    passwords = {
        role: _kept(FOLDER / f"{role}.password", secrets.token_urlsafe(24), reader=POSTGRES) for role in ROLES
    }
    logins = {
        user: _kept(FOLDER / f"airflow_{name}.password", secrets.token_urlsafe(12))
        for user, name in AIRFLOW_USERS.items()
    }
    gold = {
        name: f"postgresql://{role}:{passwords[role]}@postgres:5432/gold"
        for name, role in (
            ("MEDALLION_GOLD_DSN", "medallion_writer"),
            ("MEDALLION_READER_DSN", "gold_reader"),
        )
    }
    connections = {
        "GOLD_POSTGRES": {
            "conn_type": "postgres",
            "host": "postgres",
            "port": 5432,
            "login": "medallion_writer",
            "password": passwords["medallion_writer"],
            "schema": "gold",
        },
        "SMTP_DEFAULT": {
            "conn_type": "smtp",
            "host": "mail",
            "port": 1025,
            "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "medallion@medallion.example"},
        },
        "AIRFLOW_API": {
            "conn_type": "http",
            "host": "airflow-api-server",
            "port": 8080,
            "login": "monitor",
            "password": logins["monitor"],
        },
        "SPARK_DEFAULT": {"conn_type": "spark", "host": "spark://spark-master", "port": 7077},
        "KAFKA_DEFAULT": {"conn_type": "kafka", "extra": {"bootstrap.servers": "kafka:9092"}},
        "ADLS_DEFAULT": {"conn_type": "fs", "extra": {"path": "/lake"}},
    }
    database = f"postgresql+psycopg2://airflow:{passwords['airflow']}@postgres:5432/airflow"
    settings = {
        **gold,
        "MEDALLION_AIRFLOW_DSN": database.replace("+psycopg2", ""),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        **{f"AIRFLOW_CONN_{name}": json.dumps(value) for name, value in connections.items()},
    }
    _complete(FOLDER / "secrets.env", {name: f"{name}={value}" for name, value in gold.items()})
    _complete(FOLDER / "airflow.env", {name: f"{name}='{value}'" for name, value in settings.items()})
    known = json.loads(_kept(FOLDER / "airflow_passwords.json", json.dumps(logins)))
    if logins.keys() - known.keys():
        _write(FOLDER / "airflow_passwords.json", json.dumps({**logins, **known}))


def _complete(path: Path, lines: Mapping[str, str]) -> None:
    """Add the lines, by the name they begin with, that a file lacks."""
    known = path.read_text().splitlines() if path.exists() else []
    there = {line.partition("=")[0] for line in known}
    missing = [line for name, line in lines.items() if name not in there]
    if missing:
        _write(path, "".join(f"{line}\n" for line in [*known, *missing]))


def _kept(path: Path, content: str, *, reader: int = OURS) -> str:
    """The file's content, which is `content` only when there was none."""
    if not path.exists():
        _write(path, content, reader=reader)
    return path.read_text()


def _write(path: Path, content: str, *, reader: int = OURS) -> None:
    """Put a whole file in place, for its reader only."""
    draft = path.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_text(content)
    os.chown(draft, reader, reader)
    draft.replace(path)


if __name__ == "__main__":
    main()
