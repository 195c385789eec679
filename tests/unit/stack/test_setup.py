"""What happens before anything starts: preflight, state folder, ports, job files."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from medallion_contracts.errors import SettingsError
from medallion_ops.settings import declarations
from medallion_stack import bootstrap, layout
from medallion_stack.choices import CHOICES, SECRET_SETTINGS
from medallion_stack.ports import LOOPBACK, is_free
from medallion_stack.process import ProcessTable
from medallion_stack.stack import Stack
from medallion_stack.state import State, write_private

STACK = layout.PROJECT / "docker/local/stack.py"
# Not that of .venv: with it everything is set up already.
MACHINE_PYTHON = str(Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"))


def run_stack(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MACHINE_PYTHON, str(STACK), *arguments],
        env={"HOME": os.environ.get("HOME", "/"), "PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_missing_programs_are_all_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    (tmp_path / "uv").symlink_to(sys.executable)
    done = run_stack("setup", PATH=str(tmp_path))
    assert done.returncode == 1
    for command in ("apt-get install openjdk-17-jdk-headless", "apt-get install maven"):
        assert command in done.stderr
    assert "Traceback" not in done.stderr


def test_a_java_of_another_version_is_named(tmp_path: Path) -> None:
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    done = run_stack("setup", JAVA_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "is version 11; JAVA_HOME chooses another" in done.stderr


def test_an_unknown_command_says_which_there_are() -> None:
    done = run_stack("upp")
    assert done.returncode == 2
    assert "'up'" in done.stderr or "up," in done.stderr


def test_commands_before_the_first_start_say_so(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    assert "nothing was started yet" in run_stack("logs", MEDALLION_STATE=state).stderr
    assert run_stack("down", MEDALLION_STATE=state).returncode == 0


def test_clean_refuses_a_folder_that_no_stack_made(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    done = run_stack("clean", MEDALLION_STATE=str(tmp_path))
    assert done.returncode == 1
    assert precious.exists()
    assert "not removed" in done.stderr


@pytest.mark.parametrize("folder", ["relative/state", "/tmp/with blank", "/tmp/colon:", "/tmp/per%cent"])
def test_state_folders_that_some_service_cannot_take_are_refused(folder: str) -> None:
    with pytest.raises(SettingsError, match="MEDALLION_STATE"):
        State.of_environment({"MEDALLION_STATE": folder})


def test_ports_and_secrets_are_remembered(tmp_path: Path) -> None:
    first = State(tmp_path)
    port, secret = first.port("broker", is_ours=False), first.secret("postgres")
    second = State(tmp_path)
    assert (second.port("broker", is_ours=False), second.secret("postgres")) == (port, secret)


def test_a_port_that_a_stranger_took_meanwhile_is_replaced(tmp_path: Path) -> None:
    port = State(tmp_path).port("broker", is_ours=False)
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, port))
        stranger.listen()
        other = State(tmp_path).port("broker", is_ours=False)
        assert other != port
        assert is_free(other)


def test_the_port_of_a_running_service_is_kept(tmp_path: Path) -> None:
    port = State(tmp_path).port("broker", is_ours=False)
    with socket.socket() as ours:
        ours.bind((LOOPBACK, port))
        ours.listen()
        assert State(tmp_path).port("broker", is_ours=True) == port


def test_files_with_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.secret("postgres")
    state.write_settings({"MEDALLION_GOLD_DSN": "a=b=c", "MEDALLION_STATE": "/x"}, ("MEDALLION_GOLD_DSN",))
    for path in (state.settings_file, state.secrets_file, tmp_path / "stack.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert state.read_settings() == {"MEDALLION_GOLD_DSN": "a=b=c", "MEDALLION_STATE": "/x"}
    assert state.secrets_file.read_text() == "MEDALLION_GOLD_DSN=a=b=c\n"


def test_a_private_file_replaces_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)


def test_the_packages_of_the_jobs_work_from_their_zip(tmp_path: Path) -> None:
    bootstrap.build_jobs(tmp_path)
    code = "from medallion_contracts.loader import load_dataset; print(load_dataset('customers').key)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path / bootstrap.PY_FILES)},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout == "customer_id\n"


def test_equal_sources_give_an_equal_zip(tmp_path: Path) -> None:
    for name in ("one", "two"):
        bootstrap.build_jobs(tmp_path / name)
    one, two = (tmp_path / name / bootstrap.PY_FILES for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_job_files_hold_no_caches(tmp_path: Path) -> None:
    bootstrap.build_jobs(tmp_path)
    with zipfile.ZipFile(tmp_path / bootstrap.PY_FILES) as packages:
        assert not [name for name in packages.namelist() if name.endswith(".pyc")]


def test_a_set_up_step_that_was_interrupted_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "CACHE", tmp_path / "cache")
    source, result = tmp_path / "input", tmp_path / "result"
    source.write_text("1")
    runs = []

    def step(*, fails: bool = False) -> None:
        with bootstrap.step("test", [source], result) as is_wanted:
            if is_wanted:
                runs.append(source.read_text())
                result.touch()
                if fails:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step(fails=True)
    step()
    step()
    source.write_text("2")
    step()
    result.unlink()
    step()
    assert runs == ["1", "1", "2", "2"]


def test_settings_can_be_sourced_by_a_shell_and_are_read_back(tmp_path: Path) -> None:
    settings = {
        "MEDALLION_ALERT_TO": "a@x.org, b@y.org",
        "MEDALLION_CHURN_SOURCE": "jdbc:postgresql://h/d?a=1&b='2'",
    }
    state = State(tmp_path)
    state.write_settings(settings, ())
    script = (
        f'set -a; . {state.settings_file}; printf "%s|%s" "$MEDALLION_ALERT_TO" "$MEDALLION_CHURN_SOURCE"'
    )
    shown = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "|".join(settings.values())
    assert state.read_settings() == settings


def test_settings_do_not_change_under_services_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(tmp_path)
    state.write_settings(Stack.of(state).airflow.settings, SECRET_SETTINGS)
    monkeypatch.setattr(ProcessTable, "members", lambda table: ["a service"])
    monkeypatch.setenv("MEDALLION_LATENESS", "accept")
    with pytest.raises(SettingsError, match=r"make down.*\n.*LATENESS is accept, but what runs .* judge"):
        Stack.of(state).up()
    assert state.read_settings()["MEDALLION_LATENESS"] == "judge"


def test_limits_of_the_monitor_and_the_watcher_reach_the_stack_and_secrets_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(tmp_path)
    monkeypatch.setenv("MEDALLION_HEARTBEAT_LIMIT_SECONDS", "45")
    monkeypatch.setenv("MEDALLION_WATCH_PING", "https://ping.example.com/marked-5ecret")
    stack = Stack.of(state)
    assert stack.airflow.settings["MEDALLION_HEARTBEAT_LIMIT_SECONDS"] == "45"
    [watcher] = [one for one in stack.services() if one.name == "watcher"]
    assert watcher.environment["MEDALLION_WATCH_PING"].endswith("marked-5ecret")
    state.write_settings(stack.airflow.settings, SECRET_SETTINGS)
    monkeypatch.setattr(ProcessTable, "members", lambda table: ["a service"])
    monkeypatch.setenv("MEDALLION_WATCH_PING", "https://ping.example.com/another-5ecret")
    with pytest.raises(SettingsError, match="WATCH_PING is not what") as refused:
        Stack.of(state).up()
    assert "5ecret" not in str(refused.value)


def test_every_setting_of_the_platform_is_handed_on_by_the_local_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_METRICS_TOKEN", "token")
    settings = Stack.of(State(tmp_path)).airflow.settings
    own = ("MEDALLION_KAFKA_", "MEDALLION_LAKE_")  # its broker and its folder need no login
    names = {one.name for _, one in declarations() if not one.name.startswith(own)}
    assert names <= {*settings, *CHOICES}, "a setting that the stack does not hand on has no effect there"
    assert settings["MEDALLION_METRICS_TOKEN"] == "token"
