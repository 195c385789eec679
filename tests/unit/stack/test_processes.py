"""What the stack may signal: its own processes, never a stranger that got an old pid."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from medallion_contracts.errors import ServiceUnavailable
from medallion_stack.process import ProcessTable, Service
from medallion_stack.stack import SUPERVISOR
from medallion_stack.status import _counted
from medallion_stack.waiting import wait_until
from medallion_store.process_id import ProcessId


@pytest.fixture
def table(tmp_path: Path) -> Iterator[ProcessTable]:
    processes = ProcessTable(tmp_path / "run", tmp_path / "logs", str(tmp_path))
    yield processes
    for name in processes.names():
        processes.stop(name)


def sleeper(name: str = "sleeper", code: str = "import time; time.sleep(60)", **options: object) -> Service:
    return Service(
        name=name,
        command=[sys.executable, "-c", code],
        environment=dict(os.environ),
        is_ready=lambda: True,
        ready_on="nowhere",
        **options,  # type: ignore[arg-type]  # keywords of Service
    )


def test_a_started_service_is_found_again_by_another_table(table: ProcessTable, tmp_path: Path) -> None:
    started = table.start(sleeper())
    assert ProcessTable(tmp_path / "run", tmp_path / "logs", str(tmp_path)).find("sleeper") == started


def test_starting_twice_starts_once(table: ProcessTable) -> None:
    assert table.start(sleeper()) == table.start(sleeper())


def test_a_pid_that_now_belongs_to_a_stranger_is_neither_found_nor_signalled(
    table: ProcessTable, tmp_path: Path
) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        table.start(sleeper())
        table.stop("sleeper")
        noted = {"pid": stranger.pid, "started": "an-earlier-boot:1", "stop_signal": 15, "stop_seconds": 1}
        (tmp_path / "run" / "sleeper.json").write_text(json.dumps(noted))
        assert table.find("sleeper") is None
        table.stop("sleeper")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_stop_ends_what_a_service_started_even_in_a_session_of_its_own(table: ProcessTable) -> None:
    code = (
        "import subprocess, time; subprocess.Popen(['sleep', '60'], start_new_session=True); time.sleep(60)"
    )
    table.start(sleeper(code=code))
    deadline = time.monotonic() + 10
    while len(table.members()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(table.members()) == 2
    table.stop("sleeper")
    assert table.members() == []


def test_children_of_a_killed_service_are_still_found_by_their_mark(table: ProcessTable) -> None:
    code = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    parent = table.start(sleeper(code=code))
    while len(table.members()) < 2:
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    while table.find("sleeper"):
        time.sleep(0.05)
    assert len(table.members("sleeper")) == 1


def test_the_supervisors_memory_is_its_own_without_that_of_what_it_started(table: ProcessTable) -> None:
    code = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    for name in (SUPERVISOR, "sleeper"):
        running = table.start(sleeper(name=name, code=code))
        wait_until(lambda name=name: len(table.members(name)) == 2, 20, "the child")  # type: ignore[misc]
        counted = _counted(table, name, running)
        assert counted == ([running] if name == SUPERVISOR else table.members(name))


@pytest.mark.parametrize("asked", ["sleeper", None])
def test_children_of_a_killed_service_that_overwrote_their_environment_are_found_and_ended(
    table: ProcessTable, asked: str | None
) -> None:
    """As an idle worker of Airflow's LocalExecutor does, by its title."""
    code = (
        "import os, time\n"
        "from setproctitle import setproctitle\n"
        "for _ in range(2):\n"
        "    if os.fork() == 0:\n"
        "        setproctitle('airflow worker -- LocalExecutor: <idle> ' + 'x' * 20_000)\n"
        "        print('titled', flush=True)\n"
        "        break\n"
        "time.sleep(60)\n"
    )
    parent = table.start(sleeper(code=code))
    wait_until(lambda: table.log_file("sleeper").read_text().count("titled") == 2, 20, "the children")
    os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: table.find("sleeper") is None, 20, "the service's end")
    orphans = table.members(asked)
    assert len(orphans) == 2
    assert not any(b"MEDALLION" in Path(f"/proc/{one.pid}/environ").read_bytes() for one in orphans)
    table.stop("sleeper")
    assert not any(one.is_alive for one in orphans)


def test_a_session_that_now_belongs_to_a_stranger_is_not_ours(table: ProcessTable, tmp_path: Path) -> None:
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={}, start_new_session=True
    )
    try:
        table.start(sleeper())
        table.stop("sleeper")
        own = ProcessId.of(stranger.pid)
        assert own
        boot = own.started.partition(":")[0]
        for started in (f"{boot}:1", f"an-earlier-boot:{own.started.partition(':')[2]}"):
            noted = {"pid": stranger.pid, "started": started, "stop_signal": 15, "stop_seconds": 1}
            (tmp_path / "run" / "sleeper.json").write_text(json.dumps(noted))
            assert table.members() == []
            table.stop("sleeper")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_whose_other_threads_are_still_ending_is_still_there() -> None:
    # The first thread alone ends, by the system call: what a killed JVM looks like for a moment.
    program = (
        "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); "
        f"ctypes.CDLL(None).syscall({93 if platform.machine() == 'aarch64' else 60}, 0)"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            wait_until(lambda: state_of(process.pid) == "Z", 20, "the first thread")
            assert ProcessId.of(process.pid) is not None
        finally:
            process.kill()
    assert ProcessId.of(process.pid) is None


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_service_that_ignores_its_stop_signal_is_killed(table: ProcessTable) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    started = table.start(sleeper(code=code, stop_seconds=0.2))
    while "deaf" not in table.log_file("sleeper").read_text():
        time.sleep(0.05)
    table.stop("sleeper")
    assert not started.is_alive


def test_a_service_that_ends_while_starting_is_told_with_its_last_words(table: ProcessTable) -> None:
    # On a busy machine one that ends at once has ended before `start` has seen it, which is another error.
    service = sleeper(code="import sys, time; time.sleep(1); sys.exit('the disk is full')")
    table.start(service)
    with pytest.raises(ServiceUnavailable, match="the disk is full"):
        table.wait_ready(Service(**{**vars(service), "is_ready": lambda: False}))


def test_a_service_that_never_answers_is_told_with_its_address(table: ProcessTable) -> None:
    service = sleeper(ready_seconds=0.3)
    table.start(service)
    with pytest.raises(ServiceUnavailable, match="sleeper did not answer on nowhere"):
        table.wait_ready(Service(**{**vars(service), "is_ready": lambda: False}))


def test_services_of_tests_die_with_the_test_process(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from medallion_stack.process import ProcessTable, Service
table = ProcessTable(Path({str(tmp_path)!r}, "run"), Path({str(tmp_path)!r}, "logs"), "test")
service = Service("s", ["sleep", "60"], dict(os.environ), lambda: True, "-", dies_with_parent=True)
print(table.start(service).pid, flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout
    service = ProcessId.of(int(parent.stdout.readline()))
    assert service
    while not Path(f"/proc/{service.pid}/cmdline").read_bytes().startswith(b"sleep"):
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while service.is_alive and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not service.is_alive
