"""What must be on the machine before anything else: Java and Maven (Python is there: it runs this)."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator

from medallion_contracts.errors import MissingProgram
from medallion_stack.environment import java

_JAVA_VERSIONS = (17, 21)


def check() -> None:
    """Look for every program the stack needs.

    Raises:
        MissingProgram: names each missing one with the command that installs it.
    """
    problems = list(_problems())
    if problems:
        raise MissingProgram("this machine lacks what the local stack needs", problems)


def _problems() -> Iterator[str]:
    install_java = "on Debian or Ubuntu: sudo apt-get install openjdk-17-jdk-headless"
    version = _java_version()
    if version is None:
        yield f"Java 17 or 21; {install_java}"
    elif version not in _JAVA_VERSIONS:
        yield f"Java 17 or 21 (`{java()}` is version {version}; JAVA_HOME chooses another); {install_java}"
    if not shutil.which("mvn"):
        yield "Maven; on Debian or Ubuntu: sudo apt-get install maven"
    if not shutil.which("setpriv"):
        yield "setpriv; on Debian or Ubuntu: sudo apt-get install util-linux"
    if not shutil.which("uv") and importlib.util.find_spec("ensurepip") is None:
        yield "Python's venv module; on Debian or Ubuntu: sudo apt-get install python3-venv"


def _java_version() -> int | None:
    try:
        said = subprocess.run([java(), "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r'version "(\d+)', said)
    return int(found.group(1)) if found else None
