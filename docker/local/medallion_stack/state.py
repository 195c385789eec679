"""What one stack remembers between starts: ports, generated secrets, and where its files are."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path

from medallion_contracts.errors import SettingsError
from medallion_stack.layout import PROJECT
from medallion_stack.ports import free_port, is_free


def _fernet_key() -> str:
    return urlsafe_b64encode(secrets.token_bytes(32)).decode()


class State:
    """The state folder: `.state` of the project, or the one MEDALLION_STATE names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "stack.json"
        self._kept: dict[str, dict[str, str | int]] = {"ports": {}, "secrets": {}}
        if self._file.exists():
            self._kept = json.loads(self._file.read_text())

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] = os.environ) -> State:
        """The state folder the environment chooses.

        Raises:
            SettingsError: MEDALLION_STATE is not an absolute path, or has a character that a Java class path
                or a URI would read as its own.
        """
        chosen = environ.get("MEDALLION_STATE")
        folder = Path(chosen) if chosen else PROJECT / ".state"
        if not folder.is_absolute():
            raise SettingsError(
                "settings are not valid", [f"MEDALLION_STATE must be an absolute path: {chosen}"]
            )
        if any(character in str(folder) for character in " :%#?*,\n"):
            problem = f"MEDALLION_STATE must not hold blanks or any of : % # ? * , (choose another): {folder}"
            raise SettingsError("settings are not valid", [problem])
        return cls(folder)

    @property
    def run(self) -> Path:
        """Pid files."""
        return self.folder / "run"

    @property
    def logs(self) -> Path:
        """Output of every service."""
        return self.folder / "logs"

    @property
    def jobs(self) -> Path:
        """Entry scripts and packages of the Spark jobs."""
        return self.folder / "jobs"

    @property
    def settings_file(self) -> Path:
        """`stack.env`: every setting a client needs, KEY=VALUE, mode 0600."""
        return self.folder / "stack.env"

    @property
    def secrets_file(self) -> Path:
        """The secret settings alone, for Spark jobs, mode 0600."""
        return self.folder / "secrets.env"

    def port(self, name: str, *, is_ours: bool) -> int:
        """The remembered port of a service; another one when a stranger has taken it meanwhile.

        `is_ours`: the service runs, so it is the one that listens there.
        """
        ports = self._kept["ports"]
        known = ports.get(name)
        if known is None or not (is_ours or is_free(int(known))):
            ports[name] = free_port({int(port) for port in ports.values()})
            self._save()
        return int(ports[name])

    def secret(self, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(18)) -> str:
        """A secret that is generated once."""
        kept = self._kept["secrets"]
        if name not in kept:
            kept[name] = make()
            self._save()
        return str(kept[name])

    def fernet_key(self) -> str:
        """Airflow's key for what it encrypts in its database."""
        return self.secret("airflow_fernet", _fernet_key)

    def write_settings(self, settings: Mapping[str, str], secret_names: tuple[str, ...]) -> None:
        """Write `stack.env`, and the secret ones of it for Spark jobs."""
        # Quoted where a shell needs it, as people source it; Spark's file is read as it is.
        quoted = {name: shlex.quote(value) for name, value in settings.items()}
        write_private(self.settings_file, _lines(quoted))
        secrets = {name: settings[name] for name in secret_names if name in settings}
        write_private(self.secrets_file, _lines(secrets))

    def read_settings(self) -> dict[str, str]:
        """What `stack.env` says; empty before the first start."""
        if not self.settings_file.exists():
            return {}
        lines = self.settings_file.read_text().splitlines()
        pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
        return {name: "".join(shlex.split(value)) for name, value in pairs}

    def _save(self) -> None:
        write_private(self._file, json.dumps(self._kept, indent=1))


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def _lines(settings: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in settings.items())
