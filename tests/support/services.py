"""Real servers for tests, each with a folder and ports of its own.

The code that runs them is the local stack's. They die with the test process, whatever ends it.
"""

from __future__ import annotations

import mailbox
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path

from medallion_stack import layout
from medallion_stack.bootstrap import ensure_jars
from medallion_stack.broker import Broker
from medallion_stack.mail import MailSink
from medallion_stack.ports import LOOPBACK, answers, free_port
from medallion_stack.postgres import Postgres
from medallion_stack.process import ProcessTable, Service
from medallion_stack.spark import SparkCluster
from medallion_stack.waiting import wait_until

TOPICS = ("customers", "customers_replay")


class _Server:
    """A running service that a test may kill and start again on the same port and files."""

    def __init__(self, folder: Path, service: Service) -> None:
        self._processes = ProcessTable(folder / "run", folder / "logs", str(folder))
        self._service = service

    @property
    def log(self) -> str:
        """All that the server has said."""
        return self._processes.log_file(self._service.name).read_text(errors="replace")

    def processes(self) -> list[int]:
        """Pids of the server and of what it started, its own first."""
        found = self._processes.find(self._service.name)
        others = [one.pid for one in self._processes.members(self._service.name) if one != found]
        return [*([found.pid] if found else []), *others]

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        self._processes.start(self._service)
        self._processes.wait_ready(self._service)

    def stop(self) -> None:
        """Stop it in order."""
        self._processes.stop(self._service.name)

    def kill(self) -> None:
        """Kill -9 the server and all its processes."""
        for process in self._processes.members(self._service.name):
            with suppress(ProcessLookupError):  # some end by themselves when the first one is gone
                os.kill(process.pid, signal.SIGKILL)
        self._processes.stop(self._service.name)

    def restart(self) -> None:
        """Start it again after `kill`, or stop it in order first."""
        self.stop()
        self.start()


class BrokerServer(_Server):
    """A broker with the topics `customers` and `customers_replay` (4 partitions, LogAppendTime)."""

    def __init__(self, folder: Path, properties: Mapping[str, str] | None = None) -> None:
        ensure_jars("broker", layout.BROKER_JARS)
        self.broker = Broker(folder / "kafka", free_port(), free_port(), properties or {})
        self.broker.prepare()
        super().__init__(folder, self.broker.service(dies_with_parent=True))

    def start(self) -> None:
        """Start it and make sure of its topics."""
        super().start()
        self.broker.ensure_topics(TOPICS)

    @property
    def bootstrap(self) -> str:
        """Address for clients, host:port."""
        return self.broker.bootstrap


class PostgresServer(_Server):
    """A PostgreSQL server that does not wait for the disk."""

    def __init__(self, folder: Path) -> None:
        self._postgres = Postgres(folder / "postgres", free_port(), secrets.token_urlsafe(12))
        self._postgres.prepare()
        super().__init__(folder, self._postgres.service(durable=False, dies_with_parent=True))

    def fresh_database(self) -> str:
        """Superuser DSN of a new, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        self._postgres.ensure_database(name)
        return self._postgres.dsn(name)

    @property
    def superuser_dsn(self) -> str:
        """Superuser DSN of the database that every server has."""
        return self._postgres.dsn("postgres")

    def dsn(self, database: str, user: str, password: str) -> str:
        """DSN of a role of the test's own."""
        return self._postgres.dsn(database, user, password)


class AzuriteServer:
    """Azurite: a blob service with a container `lake`; installed into the project's cache if npm is there."""

    VERSION = "3.35.0"
    ACCOUNT = "devstoreaccount1"
    # The key that every Azurite has, as its manual says.
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    URI = f"abfs://lake@{ACCOUNT}.dfs.core.windows.net/medallion"
    _FOLDER = layout.PROJECT / ".cache" / "azurite"

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"{LOOPBACK}:{free_port()}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def install(cls) -> str | None:
        """Why it cannot be had; None when it is there."""
        if cls._program().exists():
            return None
        npm = shutil.which("npm")
        if npm is None:
            return "Azurite needs Node.js with npm"
        package = f"azurite@{cls.VERSION}"
        command = [npm, "install", "--prefix", str(cls._FOLDER), "--no-audit", "--no-fund", package]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            return f"npm could not install {package} within 300 s"
        return None if done.returncode == 0 else f"npm could not install {package}: {done.stderr[-300:]}"

    @classmethod
    def _program(cls) -> Path:
        return cls._FOLDER / "node_modules" / ".bin" / "azurite-blob"

    def start(self) -> None:
        """Start it and make the container."""
        from azure.storage.blob import BlobServiceClient

        host, port = self.endpoint.split(":")
        where = ("--blobHost", host, "--blobPort", port, "--location", str(self._folder))
        self._process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", str(self._program())),
                *("--silent", "--skipApiVersionCheck", *where),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: answers(int(port)), 60, "Azurite")
        login = {"account_name": self.ACCOUNT, "account_key": self.KEY}
        service = BlobServiceClient(f"http://{self.endpoint}/{self.ACCOUNT}", credential=login)
        service.create_container("lake")

    def stop(self) -> None:
        """End it; what it held is a test's."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Mail:
    """Where to send mail, and what has arrived."""

    host: str
    port: int
    maildir: Path

    def messages(self) -> list[Message]:
        """All mails that have arrived, oldest first."""
        box = mailbox.Maildir(self.maildir, create=False)
        keys = sorted(box.keys(), key=lambda key: (self.maildir / "new" / key).stat().st_mtime_ns)
        return [box[key] for key in keys]


class MailServer(_Server):
    """A mail server that keeps every mail in a Maildir."""

    def __init__(self, folder: Path) -> None:
        sink = MailSink(folder / "mail", free_port())
        self.mail = Mail(LOOPBACK, sink.port, sink.folder)
        super().__init__(folder, sink.service(dies_with_parent=True))


class SparkServers:
    """A Spark master with its submission service, and a worker that a test may kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.cluster = SparkCluster(
            folder,
            port=free_port(),
            rest_port=free_port(),
            web_port=free_port(),
            worker_port=free_port(),
            worker_web_port=free_port(),
            secrets_file=folder / "secrets.env",
        )
        self.cluster.secrets_file.touch(mode=0o600)
        self.master = _Server(folder, replace(self.cluster.master(), dies_with_parent=True))
        self.worker = _Server(folder, replace(self.cluster.worker(), dies_with_parent=True))

    def start(self) -> None:
        """Start both and wait until the master has the worker."""
        self.master.start()
        self.worker.start()

    def stop(self) -> None:
        """Stop both; drivers and executors end with the worker."""
        self.worker.stop()
        self.master.stop()
