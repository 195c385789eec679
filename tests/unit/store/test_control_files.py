"""Control files in a folder: replaced whole, and only if they are what was read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from medallion_contracts.errors import ServiceUnavailable
from medallion_store import folder_files
from medallion_store.control_files import control_files, store_if_unchanged
from medallion_store.lake_login import LakeLogin, blob_store_options, delta_storage_options
from settings_of_tests import MARKED, settings


def test_a_file_is_created_once_and_replaced_only_as_it_was_read(tmp_path: Path) -> None:
    files, path = control_files(LakeLogin(str(tmp_path))), f"{tmp_path}/a/b.json"
    assert files.load(path).tag is None
    first = files.create(path, {"n": 1})
    assert files.create(path, {"n": 2}) is None
    assert first is not None
    second = files.replace(path, {"n": 2}, first)
    assert second is not None
    assert files.replace(path, {"n": 3}, first) is None
    assert files.read(path) == {"n": 2}
    files.delete(path)
    assert files.replace(path, {"n": 3}, second) is None, "a file that is gone is not the one that was read"
    assert store_if_unchanged(files, path, {"n": 4}, None) is not None
    assert (files.load(path).content, store_if_unchanged(files, path, {}, first)) == ({"n": 4}, None)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    files = control_files(LakeLogin(str(tmp_path)))
    assert files.read(f"{tmp_path}/no/such.json") is None
    files.delete(f"{tmp_path}/no/such.json")
    assert not (tmp_path / "no").exists()


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    files = control_files(LakeLogin(str(tmp_path)))
    path = f"{tmp_path}/control/file.json"
    files.write(path, {"n": 0})
    done = threading.Event()

    def write() -> None:
        for number in range(200):
            files.write(path, {"n": number, "padding": "x" * 10_000})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert files.read(path) is not None
    writer.join()
    assert sorted(os.listdir(tmp_path / "control")) == [".lock", "file.json"], "nothing else is left"


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_file_with_something_else_is_named_and_can_be_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(content)
    files = control_files(LakeLogin(str(tmp_path)))
    with pytest.raises(ServiceUnavailable, match=r"file\.json"):
        files.read(str(path))
    stored = files.load(str(path))
    assert stored.content is None
    assert stored.tag is not None
    assert files.replace(str(path), {"n": 1}, stored.tag) is not None


def test_counting_by_two_processes_loses_no_count(tmp_path: Path) -> None:
    path = f"{tmp_path}/count.json"
    count = (
        "import sys; from medallion_store.control_files import *; from medallion_store.lake_login import *\n"
        "path, done = sys.argv[1], 0; files = control_files(LakeLogin(path))\n"
        "while done < 100:\n"
        "    stored = files.load(path)\n"
        "    content = {'n': (stored.content or {'n': 0})['n'] + 1}\n"
        "    done += store_if_unchanged(files, path, content, stored.tag) is not None\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    counters = [subprocess.Popen([sys.executable, "-c", count, path], env=environment) for _ in range(2)]
    assert [counter.wait(60) for counter in counters] == [0, 0]
    assert control_files(LakeLogin(path)).read(path) == {"n": 200}


def test_a_process_stopped_in_the_middle_of_a_write_is_named_and_its_end_frees_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_files, "LOCK_SECONDS", 0.2)
    hold = (
        "import sys, time; from pathlib import Path; from medallion_store.folder_files import _locked\n"
        "with _locked(Path(sys.argv[1])):\n"
        "    print('locked', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], env=environment, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    holder.send_signal(signal.SIGSTOP)
    files, path = control_files(LakeLogin(str(tmp_path))), f"{tmp_path}/file.json"
    begin = time.monotonic()
    named = rf"\.lock has been held for .* by process {holder.pid} on "
    with pytest.raises(ServiceUnavailable, match=named):
        files.write(path, {})
    assert time.monotonic() - begin < 5
    holder.kill()
    holder.wait()
    files.write(path, {"n": 1})


def test_what_a_killed_writer_left_is_removed_by_the_next_write_in_its_folder(tmp_path: Path) -> None:
    killed = (
        "import os, pathlib, signal, sys; from medallion_store.folder_files import FolderFiles\n"
        "pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "FolderFiles().write(sys.argv[1], {'n': 1})\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", killed, f"{tmp_path}/attempts.json"]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".attempts.json.*.tmp"))) == 1
    control_files(LakeLogin(str(tmp_path))).write(f"{tmp_path}/other.json", {})
    assert sorted(os.listdir(tmp_path)) == [".lock", "other.json"]


def test_both_sides_log_in_as_the_settings_say() -> None:
    assert delta_storage_options(settings(LAKE_URI="/srv/lake", LAKE_AUTH="none").lake.login) == {}
    login = settings().lake.login
    expected = {
        "azure_storage_account_name": "account",
        "azure_tenant_id": "tenant",
        "azure_client_id": "client",
        "azure_client_secret": MARKED,
    }
    assert delta_storage_options(login) == blob_store_options(login) == expected
    assert MARKED not in repr(login)


def test_a_managed_identity_uses_no_secret_left_over_from_another_login() -> None:
    login = settings(LAKE_AUTH="managed_identity").lake.login
    assert blob_store_options(login) == {
        "azure_storage_account_name": "account",
        "azure_client_id": "client",
    }
