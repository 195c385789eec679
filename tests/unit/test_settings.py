"""Settings: every problem at once, no secret shown, one declaration for code and README."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from medallion_contracts.errors import SettingsError
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.lake_settings import LakeSettings
from medallion_ops.settings import SECTIONS, Settings, settings_table
from medallion_store.secret import Secret

MARKED = "marked-5ecret"

VALID = {
    "MEDALLION_KAFKA_BOOTSTRAP": "broker-1:9092,broker-2:9092",
    "MEDALLION_LAKE_URI": "/srv/lake/",
    "MEDALLION_SPARK_MASTER": "spark://master:7077",
    "MEDALLION_SPARK_REST": "http://master:6066",
    "MEDALLION_SPARK_JARS": "/opt/jars",
    "MEDALLION_JOBS_DIR": "/opt/jobs",
    "MEDALLION_SECRETS_FILE": "/run/secrets/medallion",
    "MEDALLION_GOLD_DSN": f"postgresql://writer:{MARKED}@db:5432/gold",
    "MEDALLION_ALERT_TO": "data@example.com, ops@example.com",
}
EVENT_HUBS = {
    "MEDALLION_KAFKA_BOOTSTRAP": "ns.servicebus.windows.net:9093",
    "MEDALLION_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "MEDALLION_KAFKA_SASL_MECHANISM": "PLAIN",
    "MEDALLION_KAFKA_USERNAME": "$ConnectionString",
    "MEDALLION_KAFKA_PASSWORD": MARKED,
}
AZURE_LAKE = {
    "MEDALLION_LAKE_URI": "abfss://lake@account.dfs.core.windows.net/medallion",
    "MEDALLION_LAKE_AUTH": "service_principal",
    "MEDALLION_LAKE_TENANT_ID": "tenant",
    "MEDALLION_LAKE_CLIENT_ID": "client",
    "MEDALLION_LAKE_CLIENT_SECRET": MARKED,
}


def problems_of(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment(environ)
    return list(raised.value.problems)


def test_a_local_environment_needs_only_addresses() -> None:
    settings = Settings.from_environment(VALID)
    assert settings.kafka.bootstrap == "broker-1:9092,broker-2:9092"
    assert settings.lake.uri == "/srv/lake"
    assert settings.lake.is_local
    assert settings.stream.trigger_seconds == 60
    assert settings.stream.watermark_minutes == 10
    assert settings.alerts.to == ("data@example.com", "ops@example.com")


def test_a_cloud_environment() -> None:
    settings = Settings.from_environment(VALID | EVENT_HUBS | AZURE_LAKE)
    assert settings.kafka.password == Secret(MARKED)
    assert not settings.lake.is_local


def test_empty_text_counts_as_not_set() -> None:
    assert Settings.from_environment(VALID | {"MEDALLION_TRIGGER_SECONDS": " "}).stream.trigger_seconds == 60


def test_nothing_set_names_every_required_setting_at_once() -> None:
    problems = problems_of({})
    for name in VALID:
        assert any(problem.startswith(f"{name} is not set") for problem in problems), name


def test_problems_of_all_sections_come_together() -> None:
    wrong = {
        "MEDALLION_KAFKA_BOOTSTRAP": "broker",
        "MEDALLION_LAKE_URI": "lake",
        "MEDALLION_TRIGGER_SECONDS": "0",
        "MEDALLION_GOLD_DSN": "mysql://x/y",
        "MEDALLION_ALERT_TO": "nobody",
    }
    problems = problems_of(VALID | wrong)
    assert [problem.partition(":")[0] for problem in problems] == list(wrong) or {
        problem.partition(":")[0] for problem in problems
    } == set(wrong)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("KAFKA_BOOTSTRAP", "broker:0", "host:port"),
        ("KAFKA_BOOTSTRAP", "broker:9092,", "host:port"),
        ("KAFKA_SECURITY_PROTOCOL", "sasl", "must be one of"),
        ("SPARK_MASTER", "local[2]", "spark://host:port"),
        ("SPARK_MASTER", "spark://master", "host:port"),
        ("SPARK_REST", "master:6066", "http://"),
        ("SPARK_JARS", "jars", "absolute path"),
        ("LAKE_URI", "s3://bucket", "abfss://"),
        ("LAKE_URI", "abfss://account.dfs.core.windows.net", "abfss://<container>"),
        ("TRIGGER_SECONDS", "1.5", "whole number"),
        ("WATERMARK_MINUTES", "-1", "whole number"),
        ("SECRETS_EXPIRE", "lake=tomorrow", "YYYY-MM-DD"),
        ("REJECT_UNKNOWN_FIELDS", "yes", "true or false"),
        ("ALERT_FROM", "a@b.c\nBcc: d@e.f", "mail"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(name: str, value: str, expected: str) -> None:
    (problem,) = problems_of(VALID | {f"MEDALLION_{name}": value})
    assert problem.startswith(f"MEDALLION_{name}: ")
    assert expected in problem


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MEDALLION_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "MEDALLION_KAFKA_PASSWORD is not set"),
        (
            EVENT_HUBS | {"MEDALLION_KAFKA_SASL_MECHANISM": "OAUTHBEARER"},
            "MEDALLION_KAFKA_TENANT_ID is not set",
        ),
        (AZURE_LAKE | {"MEDALLION_LAKE_AUTH": "none"}, "MEDALLION_LAKE_AUTH is none"),
        (AZURE_LAKE | {"MEDALLION_LAKE_AUTH": "shared_key"}, "MEDALLION_LAKE_ACCOUNT_KEY is not set"),
        ({"MEDALLION_LAKE_AUTH": "managed_identity"}, "is a folder"),
        (AZURE_LAKE | {"MEDALLION_LAKE_ENDPOINT": "127.0.0.1:10000"}, "write abfs:"),
        (
            {"MEDALLION_CHURN_SOURCE": "jdbc:postgresql://db/crm?table=t&password=p"},
            "put it into MEDALLION_CHURN_USERNAME",
        ),
    ],
)
def test_settings_that_contradict_each_other(environ: dict[str, str], expected: str) -> None:
    assert any(expected in problem for problem in problems_of(VALID | environ))


def test_a_command_for_one_service_needs_only_its_section() -> None:
    kafka = KafkaSettings.from_environment({"MEDALLION_KAFKA_BOOTSTRAP": "localhost:9092"})
    assert kafka.security_protocol == "PLAINTEXT"
    with pytest.raises(SettingsError, match="MEDALLION_LAKE_URI is not set"):
        LakeSettings.from_environment({})


def test_each_limit_of_tasks_and_runs_is_a_setting() -> None:
    chosen = {"MEDALLION_LIMIT_JOB_MINUTES": "7", "MEDALLION_LIMIT_RUN_MINUTES": "70"}
    limits = Settings.from_environment(VALID | chosen).limits
    assert (limits.job_minutes, limits.run_minutes, limits.step_minutes) == (7, 70, 15)
    assert any(
        "LIMIT_STEP_MINUTES" in one for one in problems_of(VALID | {"MEDALLION_LIMIT_STEP_MINUTES": "0"})
    )


def test_a_secret_is_never_shown_or_serialised() -> None:
    settings = Settings.from_environment(VALID | EVENT_HUBS | AZURE_LAKE)
    assert MARKED not in f"{settings} {settings!r} {settings.gold.dsn}"
    assert settings.gold.dsn.reveal().startswith("postgresql://writer:marked")
    for serialise in (pickle.dumps, json.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            serialise(settings.gold.dsn)


def test_a_wrong_secret_is_not_repeated_in_the_problem() -> None:
    (problem,) = problems_of(VALID | {"MEDALLION_GOLD_DSN": f"host=db password={MARKED}"})
    assert MARKED not in problem


@pytest.mark.parametrize("name", sorted(VALID | EVENT_HUBS | AZURE_LAKE))
@pytest.mark.parametrize(
    "value",
    [
        f"Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey={MARKED}",
        f"postgresql://writer:{MARKED}@db:5432/gold",
        f"host=db password={MARKED}",
        f"https://ops:{MARKED}@host:443",
        f"{MARKED}:9092",
        f"abfss://lake:{MARKED}@account.dfs.core.windows.net/x",
        f"abfss://lake@account.dfs.core.windows.net/x?sig={MARKED}",
        MARKED,
    ],
)
def test_a_secret_in_the_wrong_setting_is_not_repeated_in_any_problem(name: str, value: str) -> None:
    environ = VALID | EVENT_HUBS | AZURE_LAKE | {name: value}
    problems: list[str] = []
    for section in SECTIONS.values():
        section.read(environ, problems)
    assert MARKED not in str(problems)


@pytest.mark.parametrize("name", ["SPARK_REST", "AIRFLOW_URL", "DATA_DOCS_URL"])
def test_an_address_that_people_are_shown_holds_no_login(name: str) -> None:
    (problem,) = problems_of(VALID | {f"MEDALLION_{name}": f"https://ops:{MARKED}@host/x"})
    assert "without a login" in problem


def test_the_readme_shows_the_table_of_settings_as_declared() -> None:
    readme = Path(__file__).parents[2] / "README.md"
    if not readme.exists():
        pytest.skip("no README yet")
    assert settings_table() in readme.read_text(), (
        "run `python -m medallion_ops.settings_check --table` and paste its output"
    )


class TestOfOneDataset:
    """MEDALLION_<DATASET>_<NAME> overrides MEDALLION_<NAME> for one dataset."""

    def test_its_own_value_wins_and_the_other_dataset_keeps_the_common_one(self) -> None:
        environ = VALID | {
            "MEDALLION_WATERMARK_MINUTES": "30",
            "MEDALLION_SUBSCRIPTIONS_WATERMARK_MINUTES": "1440",
            "MEDALLION_SUBSCRIPTIONS_GOLD_MEMORY": "2g",
        }
        own = Settings.from_environment(environ, dataset="subscriptions")
        other = Settings.from_environment(environ, dataset="customers")
        assert (own.stream.watermark_minutes, own.jobs.gold_memory) == (1440, "2g")
        assert (other.stream.watermark_minutes, other.jobs.gold_memory) == (30, "1g")

    def test_empty_text_is_no_value_of_its_own(self) -> None:
        environ = VALID | {"MEDALLION_TRIGGER_SECONDS": "7", "MEDALLION_CUSTOMERS_TRIGGER_SECONDS": " "}
        assert Settings.from_environment(environ, dataset="customers").stream.trigger_seconds == 7

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("MEDALLION_SUBSCRIPTIONS_WATERMARK_MINUTES", "soon", "must be a whole number"),
            ("MEDALLION_SUBSCRIPTIONS_WATERMARK", "10", "only these may differ by dataset"),
            ("MEDALLION_CUSTOMERS_KAFKA_BOOTSTRAP", "other:9092", "only these may differ by dataset"),
        ],
    )
    def test_a_wrong_one_is_named_whoever_reads_the_settings(self, name: str, value: str, said: str) -> None:
        [problem] = problems_of(VALID | {name: value})
        assert problem.startswith(f"{name}: ")
        assert said in problem

    def test_a_job_is_submitted_with_the_values_of_its_dataset(self) -> None:
        from medallion_ops.spark.jobs import gold_job, stream_job

        environ = VALID | {
            "MEDALLION_SUBSCRIPTIONS_TRIGGER_SECONDS": "300",
            "MEDALLION_SUBSCRIPTIONS_STREAM_MEMORY": "3g",
        }
        settings = Settings.from_environment(environ, dataset="subscriptions")
        stream = stream_job(settings, "subscriptions", submission="one")
        assert "--trigger-seconds=300" in stream.arguments
        assert stream.executor_memory == "3g"
        assert gold_job(settings, "subscriptions", run_id="run").executor_memory == "1g"
