"""Which contracts and code a process runs: the stream, the jobs and Airflow must agree about them.

Airflow tells each job its release, and the stream tells its own in the heartbeat. Two of different releases
would read and check one table by different contracts: they refuse each other, and name the command that
brings one release to all of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import cache
from typing import Any

from medallion_contracts.errors import ReleaseMismatch
from medallion_store.fingerprint import fingerprint, package_files

ROLL_OUT = (
    "`make roll-out` (where there is no such stack: `python -m medallion_ops.roll_out` after the deploy)"
)
"""The command that brings new contracts and code to a running platform."""

_PACKAGES = ("medallion_contracts", "medallion_store")
_SUFFIXES = (".py", ".yaml", ".sql")


@cache
def release() -> str:
    """Twelve hexadecimal digits that change with any contract, and with the code that all sides share."""
    return fingerprint(package_files(_PACKAGES, _SUFFIXES), 12)


def add_release_argument(parser: argparse.ArgumentParser) -> None:
    """The option by which Airflow tells a job what it runs itself."""
    parser.add_argument("--release", help="of whoever submits this job: another one than its own is refused")


def refuse_other_release(theirs: str | None) -> None:
    """Refuse to work for someone with other contracts or code; None (a person) is fine.

    Raises:
        ReleaseMismatch: names both, and the command.
    """
    if theirs is not None and theirs != release():
        raise ReleaseMismatch(
            f"Airflow runs release {theirs} of contracts and code, this job is release {release()}: "
            f"{ROLL_OUT} brings one release to all"
        )


def refuse_other_stream(heartbeat: Mapping[str, Any] | None, dataset: str) -> None:
    """Refuse to go on beside a stream that lives and runs other contracts or code.

    Args:
        heartbeat: of the stream, None where none has run; the caller has looked that it is a sign of life.
        dataset: whose stream.

    Raises:
        ReleaseMismatch: names both, and the command.
    """
    if heartbeat is not None and heartbeat.get("release") != release():
        raise ReleaseMismatch(
            f"the stream of {dataset} runs release {heartbeat.get('release') or 'unknown'} of contracts and "
            f"code, Airflow release {release()}: {ROLL_OUT} brings one release to all"
        )
