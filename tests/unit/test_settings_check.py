"""The check of an environment names what would change nothing in silence, and files that are not there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from medallion_contracts.errors import SettingsError
from medallion_ops.setting_names import unknown_names
from medallion_ops.settings_check import check_settings
from medallion_stack.stack import Stack
from medallion_stack.state import State

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "one.jar").touch()
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "stream_medallion.py").touch()
    (tmp_path / "secrets").touch()
    return {
        "MEDALLION_KAFKA_BOOTSTRAP": "broker:9092",
        "MEDALLION_LAKE_URI": "/srv/lake",
        "MEDALLION_SPARK_MASTER": "spark://master:7077",
        "MEDALLION_SPARK_REST": "http://master:6066",
        "MEDALLION_SPARK_JARS": str(tmp_path / "jars"),
        "MEDALLION_JOBS_DIR": str(tmp_path / "jobs"),
        "MEDALLION_SECRETS_FILE": str(tmp_path / "secrets"),
        "MEDALLION_SPARK_PYTHON": sys.executable,
        "MEDALLION_GOLD_DSN": "postgresql://writer@db:5432/gold",
        "MEDALLION_ALERT_TO": "data@example.com",
    }


def problems_of(environ: dict[str, str]) -> list[str]:
    try:
        check_settings(environ)
    except SettingsError as error:
        return list(error.problems)
    return []


def test_what_is_in_order_has_no_problem(environ: dict[str, str]) -> None:
    assert problems_of(environ | {"MEDALLION_CUSTOMERS_TRIGGER_SECONDS": "5", "MEDALLION_STATE": "/x"}) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MEDALLION_TRIGER_SECONDS", "MEDALLION_TRIGGER_SECONDS"),
        ("MEDALLION_CUSTOMRES_TRIGGER_SECONDS", "MEDALLION_CUSTOMERS_TRIGGER_SECONDS"),
        ("MEDALLION_ALERTS_TO", "MEDALLION_ALERT_TO"),
    ],
)
def test_a_misspelled_name_is_named_with_the_nearest(environ: dict[str, str], name: str, meant: str) -> None:
    [problem] = problems_of(environ | {name: "s3cret"})
    assert problem == f"{name}: there is no such setting, {meant} is meant?"


def test_a_name_like_no_other_is_named_and_one_without_a_value_is_none(environ: dict[str, str]) -> None:
    given = environ | {"MEDALLION_ZZZ": "1", "MEDALLION_YYY": " "}
    assert problems_of(given) == ["MEDALLION_ZZZ: there is no such setting"]


@pytest.mark.parametrize("level", ["customers.gold_freshnes", "custmers.gold_freshness", "gold_freshness"])
def test_an_unknown_service_level_is_refused(environ: dict[str, str], level: str) -> None:
    [problem] = problems_of(environ | {"MEDALLION_SERVICE_LEVELS": f"customers.latency=2,{level}=1"})
    assert problem.startswith("MEDALLION_SERVICE_LEVELS: the value must name <dataset>.<level>")
    assert "customers.gold_freshness is meant?" in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEDALLION_SECRETS_FILE", "/nope"),
        ("MEDALLION_SPARK_JARS", "/nope"),
        ("MEDALLION_JOBS_DIR", "/nope"),
        ("MEDALLION_SPARK_PYTHON", "python9"),
        ("MEDALLION_KAFKA_CA_FILE", "/nope"),
        ("MEDALLION_PRODUCER_DIR", "/nope"),
        ("MEDALLION_CANARY_MAILDIR", "/nope"),
    ],
)
def test_a_file_that_is_not_there_is_named(environ: dict[str, str], name: str, value: str) -> None:
    [problem] = problems_of(environ | {name: value})
    assert problem.startswith(f"{name}: ")
    assert value in problem


def test_the_names_that_the_stacks_use_are_known() -> None:
    files = [
        *(PROJECT / "docker").rglob("*.py"),
        PROJECT / "docker-compose.yaml",
        *(PROJECT / "expectations").rglob("*.yaml"),
    ]
    used = {name for file in files for name in re.findall(r"\bMEDALLION_[A-Z_]*[A-Z]\b", file.read_text())}
    assert [*unknown_names(dict.fromkeys(used, "1"))] == []


def test_the_stack_refuses_misspelled_names_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_TRIGER_SECONDS", "5")
    monkeypatch.setenv("MEDALLION_CUSTOMERS_TRIGER_SECONDS", "5")
    with pytest.raises(SettingsError, match="MEDALLION_TRIGGER_SECONDS is meant") as refused:
        Stack.of(State(tmp_path)).up()
    assert len(refused.value.problems) == 2


def test_a_reader_that_has_read_enough_makes_no_traceback(environ: dict[str, str]) -> None:
    command = [sys.executable, "-m", "medallion_ops.settings_check"]
    path = f"{PROJECT / 'expectations'}:{PROJECT / 'plugins'}"
    process = subprocess.Popen(
        command, env=environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
