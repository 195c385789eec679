"""Airflow's side and the entry scripts agree on every argument."""

from __future__ import annotations

import importlib

import pytest

from medallion_ops.settings import Settings
from medallion_ops.spark.jobs import SparkJob, gold_job, maintenance_job, rebuild_job, stream_job

SETTINGS = Settings.from_environment(
    {
        "MEDALLION_KAFKA_BOOTSTRAP": "ns.servicebus.windows.net:9093",
        "MEDALLION_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "MEDALLION_KAFKA_SASL_MECHANISM": "OAUTHBEARER",
        "MEDALLION_KAFKA_USERNAME": "client",
        "MEDALLION_KAFKA_PASSWORD": "secret",
        "MEDALLION_KAFKA_TENANT_ID": "tenant",
        "MEDALLION_KAFKA_CA_FILE": "/etc/ca.pem",
        "MEDALLION_LAKE_URI": "abfs://lake@account.dfs.core.windows.net",
        "MEDALLION_LAKE_AUTH": "service_principal",
        "MEDALLION_LAKE_TENANT_ID": "tenant",
        "MEDALLION_LAKE_CLIENT_ID": "client",
        "MEDALLION_LAKE_CLIENT_SECRET": "secret",
        "MEDALLION_LAKE_ENDPOINT": "127.0.0.1:10000",
        "MEDALLION_SPARK_MASTER": "spark://master:7077",
        "MEDALLION_SPARK_REST": "http://master:6066",
        "MEDALLION_SPARK_JARS": "/opt/jars",
        "MEDALLION_JOBS_DIR": "/opt/jobs",
        "MEDALLION_SECRETS_FILE": "/run/secrets/medallion",
        "MEDALLION_GOLD_DSN": "postgresql://writer@db/gold",
        "MEDALLION_CHURN_SOURCE": "/data/churn.csv",
        "MEDALLION_ALERT_TO": "data@example.com",
        "MEDALLION_MAX_OFFSETS_PER_TRIGGER": "1000",
        "MEDALLION_REJECT_UNKNOWN_FIELDS": "true",
    }
)
JOBS = [
    stream_job(SETTINGS, "customers", submission="token", recover=True),
    gold_job(SETTINGS, "customers", run_id="run", full=True),
    rebuild_job(SETTINGS, "customers", mode="judge-again", run_id="run"),
    maintenance_job(SETTINGS, "customers", keep_from_version=7),
]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.script)
def test_the_entry_script_knows_every_argument_it_is_given(
    job: SparkJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module(job.script.removesuffix(".py"))
    monkeypatch.setattr("sys.argv", [job.script, "--help"])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 0
    known = capsys.readouterr().out.split()
    given = [word.partition("=")[0] for word in job.arguments]
    unknown = [name for name in given if name not in known and f"[{name}]" not in known]
    assert not unknown, f"{job.script} does not take these: {unknown}"


@pytest.mark.parametrize("job", JOBS[1:], ids=lambda job: job.script)
def test_a_job_of_another_release_ends_before_it_does_anything(
    job: SparkJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module(job.script.removesuffix(".py"))
    arguments = [word for word in job.arguments if not word.startswith("--release=")]
    monkeypatch.setattr(script, "end_with_parent", lambda: None)
    monkeypatch.setattr("sys.argv", [job.script, *arguments, "--release=other"])
    assert script.main() == 1
    assert "make roll-out" in capsys.readouterr().err
