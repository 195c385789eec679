"""The watcher's command: what it needs, and what it does without."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from medallion_contracts.errors import SettingsError
from medallion_ops.watch.__main__ import AIRFLOW_SMTP, sources
from settings_of_tests import ENVIRONMENT, MARKED

GIVEN = {**ENVIRONMENT, AIRFLOW_SMTP: "smtp://mail:25", "MEDALLION_ALERT_OUTBOX": "/var/outbox"}


def test_it_takes_airflows_address_and_mail_server_unless_it_has_its_own() -> None:
    found, outbox = sources(GIVEN)
    assert (found.airflow_url, found.mail_server.host) == (ENVIRONMENT["MEDALLION_AIRFLOW_URL"], "mail")
    assert str(outbox) == "/var/outbox"
    own = {"MEDALLION_WATCH_AIRFLOW_URL": "http://api:8080", "MEDALLION_WATCH_SMTP": "smtp://other:25"}
    found, _ = sources(GIVEN | own)
    assert (found.airflow_url, found.mail_server.host) == ("http://api:8080", "other")


def test_everything_that_is_missing_is_named_at_once_and_no_secret_is() -> None:
    with pytest.raises(SettingsError) as refused:
        sources({"MEDALLION_WATCH_SMTP": f"{{{MARKED}"})
    said = str(refused.value)
    for name in ("ALERT_TO", "GOLD_DSN", "WATCH_SMTP", "WATCH_AIRFLOW_URL"):
        assert f"MEDALLION_{name}" in said
    assert MARKED not in said
    with pytest.raises(SettingsError, match="MEDALLION_ALERT_OUTBOX"):
        sources({**GIVEN, "MEDALLION_ALERT_OUTBOX": ""})


def test_it_does_without_airflow_kafka_and_spark() -> None:
    heavy = "{'airflow', 'pyspark', 'kafka', 'great_expectations', 'pandas', 'pyarrow', 'deltalake'}"
    code = f"import sys, medallion_ops.watch.__main__; print(sorted({heavy} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
