"""docker-compose.yaml and the image fit each other: what a machine without Docker can tell of it."""

from __future__ import annotations

import re
from typing import Any

import yaml

from medallion_ops.limit_settings import LimitSettings
from medallion_ops.monitor.settings import MonitorSettings
from medallion_ops.watch.settings import WatchSettings
from medallion_stack.layout import PROJECT

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text())
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


def test_every_limit_of_the_platform_can_be_set_in_compose() -> None:
    settings = COMPOSE["x-airflow"]["environment"]
    sections = (LimitSettings, MonitorSettings, WatchSettings)
    names = {declaration.name for section in sections for _, declaration in section.declarations()}
    assert names <= set(settings), "a setting that compose does not hand on has no effect there"


def test_the_watcher_runs_beside_airflow_with_its_settings() -> None:
    watcher = COMPOSE["services"]["watcher"]
    assert watcher["command"] == ["python", "-m", "medallion_ops.watch"]
    assert watcher["environment"] == COMPOSE["x-airflow"]["environment"]
