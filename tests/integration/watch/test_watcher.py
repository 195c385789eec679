"""The watcher over real Airflow reports, Postgres and SMTP, from the first silence to the closing mail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from medallion_ops.incidents import main as incidents_command
from medallion_ops.monitor import incidents, samples
from medallion_ops.monitor.observation import Counts, DatasetObservation
from medallion_ops.watch.__main__ import AIRFLOW_SMTP, sources
from medallion_ops.watch.state import StateFile
from medallion_ops.watch.watcher import CHECK_SECONDS, Watcher
from medallion_stack.ports import free_port
from medallion_stack.waiting import wait_until
from medallion_store.process_id import ProcessId
from services import Mail, MailServer, PostgresServer

START = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
CHECK = timedelta(seconds=CHECK_SECONDS)


class Airflow:
    """Answers as Airflow's API does, and takes pings and posts; `silent` parts give no heartbeat."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.pings = 0
        self.posts: list[str] = []
        airflow = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the library's name
                if self.path == "/ping/key-5ecret":
                    airflow.pings += 1
                self.send_response(503 if "API server" in airflow.silent else 200)
                self.end_headers()
                self.wfile.write(json.dumps(airflow.report()).encode())

            def do_POST(self) -> None:  # the library's name
                content = self.rfile.read(int(self.headers["Content-Length"]))
                airflow.posts.append(json.loads(content)["text"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Nothing: the test's output stays clean."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def report(self) -> dict[str, Any]:
        def state(name: str) -> str:
            return "unhealthy" if name in self.silent else "healthy"

        parts = ("scheduler", "triggerer", "dag_processor")
        heartbeats = {
            name: {"status": state(name), f"latest_{name}_heartbeat": START.isoformat()} for name in parts
        }
        return {"metadatabase": {"status": state("metadatabase")}, **heartbeats}

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def airflow() -> Iterator[Airflow]:
    """An Airflow that is well until it is told otherwise."""
    found = Airflow()
    yield found
    found.stop()


@pytest.fixture
def gold(empty_gold: str) -> str:
    """A migrated gold database in which the monitor has just looked, and will go on to."""
    looked(empty_gold, START + timedelta(days=3650))
    return empty_gold


def looked(dsn: str, at: datetime) -> None:
    """The monitor's last look was then."""
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM audit.monitor_samples")
        samples.record(connection, DatasetObservation("customers"), at, None, 0, Counts())


class Platform:
    """A watcher, restarted at will, and the clock that it is shown."""

    def __init__(self, airflow: Airflow, gold: str, smtp_port: int, folder: Path) -> None:
        self.environment = {
            "MEDALLION_ALERT_TO": "data@example.com",
            "MEDALLION_ALERT_OUTBOX": str(folder),
            "MEDALLION_GOLD_DSN": gold,
            "MEDALLION_AIRFLOW_URL": airflow.url,
            "MEDALLION_WATCH_PING": f"{airflow.url}/ping/key-5ecret",
            AIRFLOW_SMTP: f"smtp://127.0.0.1:{smtp_port}?disable_ssl=true&disable_tls=true&timeout=2",
        }
        self.now = START
        self.start()

    def start(self) -> None:
        """A watcher with nothing but the file of the one before."""
        found, folder = sources(self.environment)
        self.watcher = Watcher(found, StateFile(folder))

    def check(self, times: int = 1) -> None:
        for _ in range(times):
            self.watcher.check(self.now)
            self.now += CHECK


@pytest.fixture
def platform(airflow: Airflow, gold: str, mail_sink: Mail, tmp_path: Path) -> Platform:
    """A watcher whose mails go to the sink."""
    return Platform(airflow, gold, mail_sink.port, tmp_path / "outbox")


def subjects(mail: Mail) -> list[str]:
    return [str(one["Subject"]).removeprefix("[medallion] ") for one in mail.messages()]


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("API server", "airflow silent: API server"),
        ("metadatabase", "airflow silent: database"),
        ("scheduler", "airflow silent: scheduler"),
        ("triggerer", "airflow silent: triggerer"),
        ("dag_processor", "airflow silent: DAG processor"),
    ],
)
def test_what_is_silent_is_mailed_within_six_minutes_and_its_end_too(
    platform: Platform, airflow: Airflow, gold: str, mail_sink: Mail, part: str, name: str
) -> None:
    platform.check(2)
    airflow.silent = {part}
    platform.check(12)
    assert subjects(mail_sink) == [name]
    airflow.silent = set()
    platform.check(3)
    assert subjects(mail_sink) == [name, f"Over: {name}"]
    [mail, _] = mail_sink.messages()
    assert mail["Date"]
    text = mail.as_string()
    assert f"{airflow.url}/medallion/runbook#airflow_silent" in text
    assert "make logs" in text, "the paragraph itself: Airflow may not serve it"
    [(code, closed_at, mailed)] = rows(gold, "SELECT code, closed_at, mailed FROM audit.incidents")
    assert (code, mailed) == ("airflow_silent", "closed")
    assert closed_at is not None


def test_a_monitor_that_does_not_look_is_noticed(platform: Platform, gold: str, mail_sink: Mail) -> None:
    looked(gold, START)
    platform.check(13)
    assert subjects(mail_sink) == ["monitor silent"]


def test_a_dead_supervisor_is_mailed_and_the_end_of_that_too(
    platform: Platform, gold: str, mail_sink: Mail, tmp_path: Path
) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    lives = ProcessId.of(sleeper.pid)
    assert lives
    note = tmp_path / "supervisor.json"
    note.write_text(json.dumps({**vars(lives), "stop_signal": 15}))
    platform.watcher = Watcher(replace(platform.watcher._sources, supervisor=note), platform.watcher._file)
    platform.check(12)
    assert subjects(mail_sink) == []
    sleeper.kill()
    sleeper.wait()
    platform.check(12)
    assert subjects(mail_sink) == ["supervisor down"]
    assert "make up" in mail_sink.messages()[0].as_string()
    assert rows(gold, "SELECT code, closed_at FROM audit.incidents") == [("supervisor_down", None)]
    note.unlink()  # `make down`, or another one is noted
    platform.check(3)
    assert subjects(mail_sink) == ["supervisor down", "Over: supervisor down"]


def test_postgres_away_is_mailed_and_its_incident_adopted_when_it_is_back_without_a_second_mail(
    airflow: Airflow,
    gold: str,
    postgres_server: PostgresServer,
    mail_sink: Mail,
    tmp_path: Path,
) -> None:
    platform = Platform(airflow, gold, mail_sink.port, tmp_path / "outbox")
    platform.check()
    postgres_server.stop()
    try:
        airflow.silent = {"metadatabase"}  # the same server holds Airflow's tables
        platform.check(12)
    finally:
        postgres_server.start()
    airflow.silent = set()
    assert subjects(mail_sink) == ["postgres down"]
    platform.check(4)
    assert subjects(mail_sink) == ["postgres down", "Over: postgres down"]
    [(opened_at, closed_at)] = rows(gold, "SELECT opened_at, closed_at FROM audit.incidents")
    assert opened_at < closed_at <= platform.now
    with psycopg.connect(gold) as connection:
        assert not incidents.record_look(connection, [], platform.now, {}), "the monitor leaves it alone"
        assert not incidents.record_look(connection, [], platform.now + timedelta(minutes=2), {})


def test_a_postgres_that_is_frozen_does_not_hold_the_watcher(
    platform: Platform, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medallion_ops.watch.watcher.POSTGRES_SECONDS", 1)
    pids = postgres_server.processes()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        platform.check(2)
        assert [one.problem.code for one in platform.watcher.state.troubles] == ["postgres_down"]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not platform.watcher._asking or not platform.watcher._asking.is_alive(), 30, "it")
    platform.check()
    assert not platform.watcher.state.troubles


def test_with_the_mail_server_away_mails_are_kept_and_sent_once_it_is_back(
    airflow: Airflow, gold: str, mail_server: MailServer, mail_sink: Mail, tmp_path: Path
) -> None:
    platform = Platform(airflow, gold, mail_sink.port, tmp_path / "outbox")
    mail_server.stop()
    try:
        airflow.silent = {"scheduler"}
        platform.check(12)
        assert len(platform.watcher.state.outgoing) == 1
        assert platform.watcher._file.path.stat().st_mode & 0o777 == 0o600
        platform.start()  # as after kill -9
        platform.check()
    finally:
        mail_server.start()
    platform.check(2)
    assert subjects(mail_sink) == ["airflow silent: scheduler"]
    assert not platform.watcher.state.outgoing


def test_a_webhook_gets_it_while_the_mail_server_is_away(airflow: Airflow, gold: str, tmp_path: Path) -> None:
    platform = Platform(airflow, gold, free_port(), tmp_path / "outbox")
    platform.environment["MEDALLION_ALERT_WEBHOOK"] = f"{airflow.url}/hook/key-5ecret"
    platform.start()
    airflow.silent = {"scheduler"}
    platform.check(12)
    assert len(airflow.posts) == 1, "and only once, while the mail still waits"
    assert "airflow silent: scheduler" in airflow.posts[0]
    assert [one.entry.channel for one in platform.watcher.state.outgoing] == ["mail"]


def test_killed_after_any_check_it_neither_loses_a_mail_nor_sends_one_twice(
    platform: Platform, airflow: Airflow, gold: str, mail_sink: Mail
) -> None:
    airflow.silent = {"triggerer"}
    for _ in range(12):
        platform.start()
        platform.check()
    airflow.silent = set()
    for _ in range(6):
        platform.start()
        platform.check()
    assert subjects(mail_sink) == ["airflow silent: triggerer", "Over: airflow silent: triggerer"]
    assert rows(gold, "SELECT count(*) FROM audit.incidents") == [(1,)]


def test_killed_between_its_note_and_the_hand_over_it_sends_the_mail_then(
    platform: Platform, airflow: Airflow, mail_sink: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow.silent = {"scheduler"}
    with monkeypatch.context() as patch:
        patch.setattr(Watcher, "_send", lambda self, now: None)
        platform.check(10)
    assert not mail_sink.messages()
    platform.start()
    platform.check(3)
    assert subjects(mail_sink) == ["airflow silent: scheduler"]


def test_an_unreadable_file_is_set_aside(platform: Platform) -> None:
    path = platform.watcher._file.path
    platform.check()
    path.write_text('{"troubles": [{}]')
    platform.start()
    platform.check()
    assert path.with_suffix(".unreadable").exists()
    assert json.loads(path.read_text())["troubles"] == []


def test_an_acknowledged_incident_is_not_reminded_of(
    platform: Platform, airflow: Airflow, gold: str, mail_sink: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_GOLD_DSN", gold)
    airflow.silent = {"scheduler"}
    platform.check(10)
    [(number,)] = rows(gold, "SELECT incident_id FROM audit.incidents")
    assert incidents_command(["acknowledge", str(number)]) == 0
    platform.check()
    platform.now += timedelta(hours=25)
    platform.check(3)
    assert len(mail_sink.messages()) == 1


def test_planned_work_holds_its_mails_back_too(
    platform: Platform, airflow: Airflow, gold: str, mail_sink: Mail
) -> None:
    with psycopg.connect(gold) as connection:
        incidents.plan_window(connection, "", START, START + timedelta(hours=1), "upgrade", "grace")
    platform.check()
    airflow.silent = {"API server"}
    platform.check(20)
    assert not mail_sink.messages()


def test_it_pings_while_all_is_well_and_not_while_something_is_wrong(
    platform: Platform, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medallion_ops.watch.watcher.PING_SECONDS", 0)
    platform.check()
    assert airflow.pings == 1
    airflow.silent = {"scheduler"}
    platform.check(10)
    before = airflow.pings
    platform.check(2)
    assert airflow.pings == before


def test_as_a_process_it_checks_at_once_refuses_a_second_one_and_stays_small(platform: Platform) -> None:
    import psutil

    environment = {**os.environ, **platform.environment, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "medallion_ops.watch"]
    first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        path = platform.watcher._file.path
        wait_until(path.exists, 30, "the watcher")
        second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert "another watcher" in second.stderr
        time.sleep(0.2)
        memory = psutil.Process(first.pid).memory_full_info().uss
        assert memory < 80 * 2**20, f"{memory / 2**20:.0f} MiB"
    finally:
        first.kill()
        first.wait()


def test_a_mail_server_that_refuses_the_login_is_named_without_it(
    airflow: Airflow, gold: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    platform = Platform(airflow, gold, free_port(), tmp_path / "outbox")
    platform.environment[AIRFLOW_SMTP] = "smtp://me:marked-5ecret@127.0.0.1:9?timeout=1"
    platform.start()
    airflow.silent = {"scheduler"}
    platform.check(10)
    assert "took no mail" in caplog.text
    assert "marked-5ecret" not in caplog.text
