"""docker-compose.yaml and the image fit each other: what a machine without Docker can tell of it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from medallion_ops.settings import declarations
from medallion_stack.layout import PROJECT

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text())
_spec = importlib.util.spec_from_file_location("make_secrets", PROJECT / "docker/make_secrets.py")
assert _spec
assert _spec.loader
make_secrets: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_secrets)
IMAGE = (PROJECT / "docker" / "Dockerfile").read_text()


def test_the_image_makes_the_folders_of_its_volumes() -> None:
    made = re.search(r"install --directory --owner medallion([^&]*?)\nENV", IMAGE)
    assert made, "docker/Dockerfile no longer makes its folders by `install --directory --owner medallion`"
    folders = made[1].replace("\\", "").split()
    mounted = {volume.split(":")[1] for volume in COMPOSE["x-volumes"]}
    assert mounted <= set(folders), (
        "a volume belongs to root unless the image has its folder: name it in docker/Dockerfile's `install`"
    )


def test_everything_is_published_on_loopback_only() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_worker_gets_its_options_as_spark_reads_them() -> None:
    command = COMPOSE["services"]["spark-worker"]["command"]
    joined = [word for word in command if re.match(r"--[\w-]+=", word)]
    assert joined == [], "Spark's Worker knows no --option=value: give option and value as two words"


def test_every_container_of_ours_ends_with_all_that_its_service_started() -> None:
    ours = {name: one for name, one in COMPOSE["services"].items() if one["image"] == "medallion:local"}
    assert len(ours) >= 8
    for name, service in ours.items():
        assert service["init"] is True, f"{name}: without init a killed service leaves its children running"
        assert service["stop_grace_period"], f"{name}: Docker kills after 10 s, in the middle of a task"


def test_the_watcher_runs_beside_airflow_with_its_settings() -> None:
    watcher = COMPOSE["services"]["watcher"]
    assert watcher["command"] == ["python", "-m", "medallion_ops.watch"]
    assert watcher["environment"] == COMPOSE["x-airflow"]["environment"]


OF_ITS_OWN = ("MEDALLION_KAFKA_", "MEDALLION_LAKE_", "MEDALLION_CHURN_")
"""Compose has a broker, a lake and a table of outcomes of its own, without a login."""


def test_every_setting_of_the_platform_can_be_set_in_compose() -> None:
    settings = {*COMPOSE["x-airflow"]["environment"], *made_secrets("airflow.env")}
    names = {one.name for _, one in declarations() if not one.name.startswith(OF_ITS_OWN)}
    assert names <= settings, "a setting that compose does not hand on has no effect there"


def test_volumes_of_an_earlier_version_get_what_they_lack_and_keep_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_secrets, "FOLDER", tmp_path)
    monkeypatch.setattr(os, "chown", lambda *_: None)
    (tmp_path / "airflow_login.password").write_text("login")
    (tmp_path / "airflow_passwords.json").write_text('{"admin": "login"}')
    old = "MEDALLION_GOLD_DSN='postgresql://w@old/gold'\nAIRFLOW__CORE__FERNET_KEY='key='\nMINE='x'\n"
    (tmp_path / "airflow.env").write_text(old)
    (tmp_path / "secrets.env").write_text("MEDALLION_GOLD_DSN=postgresql://w@old/gold\n")

    for _ in range(2):
        make_secrets.main()
        logins = json.loads((tmp_path / "airflow_passwords.json").read_text())
        assert logins["admin"] == "login"
        for user, name in make_secrets.AIRFLOW_USERS.items():
            assert logins[user] == (tmp_path / f"airflow_{name}.password").read_text()
        environment = (tmp_path / "airflow.env").read_text()
        assert environment.startswith(old)
        names = [line.partition("=")[0] for line in environment.splitlines()]
        assert len(set(names)) == len(names)
        assert {"MEDALLION_AIRFLOW_DSN", "AIRFLOW_CONN_AIRFLOW_API", "AIRFLOW_CONN_SPARK_DEFAULT"} <= {*names}
        secrets = (tmp_path / "secrets.env").read_text().splitlines()
        assert secrets[0] == "MEDALLION_GOLD_DSN=postgresql://w@old/gold"
        assert [line.partition("=")[0] for line in secrets[1:]] == ["MEDALLION_READER_DSN"]


def made_secrets(name: str) -> list[str]:
    """The names that a new stack's file of secrets has."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_secrets, "FOLDER", Path(folder))
        patch.setattr(os, "chown", lambda *_: None)
        make_secrets.main()
        lines = Path(folder, name).read_text().splitlines()
    return [line.partition("=")[0] for line in lines]
