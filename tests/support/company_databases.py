"""Databases as companies set them up: settings of their own, a standby, a pooler in transaction mode."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from itertools import takewhile
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from medallion_stack.ports import LOOPBACK, answers, free_port
from medallion_stack.waiting import wait_until
from services import PostgresServer

UNUSUAL_SETTINGS = {
    "client_encoding": "LATIN1",
    "timezone": "Asia/Kolkata",
    "datestyle": "SQL, DMY",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-10",
    "array_nulls": "off",
    "search_path": "nowhere",
    "statement_timeout": "3s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "3s",
    "idle_session_timeout": "3s",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
}
"""Each of them changes bytes, or ends sessions and statements, where a session takes it over."""


def set_up_unusually(dsn: str, *, of_role: bool = False) -> None:
    """Give a database, or its role in this database, every unusual setting."""
    parts = conninfo_to_dict(dsn)
    database = sql.Identifier(str(parts["dbname"]))
    owner = (
        sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(str(parts["user"])), database)
        if of_role
        else sql.SQL("DATABASE {}").format(database)
    )
    # Of another database: a session of the database itself would soon be at the mercy of its settings.
    with psycopg.connect(dsn, dbname="postgres", autocommit=True) as connection:
        for name, value in UNUSUAL_SETTINGS.items():
            connection.execute(
                sql.SQL("ALTER {} SET {} = {}").format(owner, sql.Identifier(name), sql.Literal(value))
            )


def set_up_as_usual(dsn: str) -> None:
    """Take the settings of a database back."""
    database = sql.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
    with psycopg.connect(dsn, dbname="postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(database))


def standby(folder: Path) -> PostgresServer:
    """A server that follows no one and takes no writes; not started."""
    server = PostgresServer(folder)
    data = folder / "postgres" / "data"
    (data / "standby.signal").touch()
    shutil.chown(data / "standby.signal", data.stat().st_uid, data.stat().st_gid)
    return server


class TransactionPooler:
    """PgBouncer in transaction mode with two connections, in front of one server."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self._folder = folder
        self._server = conninfo_to_dict(dsn)
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """The same database, by way of the pooler."""
        return f"postgresql://{self._server['user']}:x@{LOOPBACK}:{self._port}/{self._server['dbname']}"

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be had; None when it is there."""
        return None if shutil.which("pgbouncer", path=_PATH) else "PgBouncer: apt-get install pgbouncer"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._folder.mkdir(parents=True)
        server = self._server
        (self._folder / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"* = host={server['host']} port={server['port']} user={server['user']} "
            f"password={server['password']}\n"
            "[pgbouncer]\n"
            f"listen_addr = {LOOPBACK}\nlisten_port = {self._port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n"
        )
        command = [str(shutil.which("pgbouncer", path=_PATH)), str(self._folder / "pgbouncer.ini")]
        if os.geteuid() == 0:  # it refuses to be root
            user = pwd.getpwnam("nobody")
            for path in (self._folder, self._folder / "pgbouncer.ini"):
                os.chown(path, user.pw_uid, user.pw_gid)
            # Each process of a parallel run has folders of its own, one level further down.
            for path in takewhile(lambda one: one != Path(tempfile.gettempdir()), self._folder.parents):
                path.chmod(path.stat().st_mode | 0o111)
            command = [
                "setpriv",
                f"--reuid={user.pw_uid}",
                f"--regid={user.pw_gid}",
                "--clear-groups",
                *command,
            ]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(lambda: answers(self._port), 20, "PgBouncer")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
