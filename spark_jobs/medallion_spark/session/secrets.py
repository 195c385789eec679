"""Secrets of a job: KEY=VALUE lines of the file that MEDALLION_SECRETS_FILE names, readable on every worker.

Arguments, Spark properties and pickled closures can be read by others; so each process that needs a secret,
driver or executor, reads it here when it needs it and hands it on to nobody.
"""

from __future__ import annotations

import os
from pathlib import Path

from medallion_contracts.errors import SettingsError
from medallion_store.postgres_address import SETTING
from medallion_store.secret import Secret

FILE_SETTING = "MEDALLION_SECRETS_FILE"


def secret(name: str) -> str | None:
    """The value of a secret setting such as MEDALLION_GOLD_DSN; None when the file has no such line.

    Raises:
        SettingsError: the file is not named or cannot be read.
    """
    path = os.environ.get(FILE_SETTING)
    if not path:
        raise SettingsError(
            "secrets cannot be read", [f"{FILE_SETTING} is not set: name the file that holds {name}"]
        )
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise SettingsError(
            "secrets cannot be read",
            [f"{FILE_SETTING}: {error.strerror}; it must be readable on every worker"],
        ) from None
    for line in lines:
        key, separator, value = line.partition("=")
        if separator and key.strip() == name:
            return value.strip()
    return None


def required_secret(name: str) -> str:
    """The value of a secret setting.

    Raises:
        SettingsError: the file is not named, cannot be read, or lacks the line.
    """
    value = secret(name)
    if not value:
        raise SettingsError("secrets are missing", [f"the file of {FILE_SETTING} has no line {name}=..."])
    return value


def gold_dsn() -> Secret:
    """The login to gold, read by the process that connects: it is in no closure and no plan.

    Raises:
        SettingsError: the file is not named, cannot be read, or lacks the line.
    """
    return Secret(required_secret(SETTING))
