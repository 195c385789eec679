"""Make what the stack runs from, on a machine where nothing was set up: `.venv`, jars, job files.

Standard library only: this runs before `.venv` exists. Every step is skipped when its inputs have not
changed since it last succeeded, and is done again when it was interrupted.
"""

from __future__ import annotations

import fcntl
import filecmp
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medallion_contracts.errors import ServiceUnavailable
from medallion_stack import layout

_UV = "uv==0.9.*"
PY_FILES = "medallion.zip"
PACKAGES = (
    ("expectations", "medallion_contracts"),
    ("expectations", "medallion_store"),
    ("spark_jobs", "medallion_spark"),
)
"""What the jobs import, by import root."""


def ensure_venv() -> None:
    """Make `.venv` from uv.lock with the running interpreter's version; uv itself is fetched when missing.

    Raises:
        ServiceUnavailable: uv or pip failed; carries what it said.
    """
    inputs = (layout.PROJECT / "uv.lock", layout.PROJECT / "pyproject.toml")
    with step("venv", inputs, layout.VENV / "bin/python") as is_wanted:
        if is_wanted:
            environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(layout.VENV)}
            environment.pop("VIRTUAL_ENV", None)
            _run([_uv(), "sync", "--frozen", "--quiet", "--python", sys.executable], environment)


def ensure_jars(profile: str, folder: Path) -> None:
    """Copy the jars of one profile of pom.xml into `folder`.

    Raises:
        ServiceUnavailable: Maven failed; carries what it said.
    """
    pom = layout.PROJECT / "pom.xml"
    with step(f"jars-{profile}", [pom], folder) as is_wanted:
        if is_wanted:
            shutil.rmtree(folder, ignore_errors=True)
            goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
            _run(["mvn", "-q", "-B", "-f", str(pom), "-P", profile, *goal], dict(os.environ))


def build_jobs(folder: Path) -> None:
    """Lay out what a cluster needs to run the jobs: the entry scripts, and their packages as one zip.

    Files are replaced whole, so a job that is being submitted never reads half of one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for script in _job_scripts():
        _replace(folder / script.name, script.read_bytes())
    archive = folder / f".{PY_FILES}.{os.getpid()}"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packages:
        for root, package in PACKAGES:
            for path in sorted((layout.PROJECT / root / package).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    # A fixed date: equal sources give an equal archive.
                    entry = zipfile.ZipInfo(
                        str(path.relative_to(layout.PROJECT / root)), (2000, 1, 1, 0, 0, 0)
                    )
                    entry.external_attr = 0o644 << 16
                    packages.writestr(entry, path.read_bytes())
    archive.replace(folder / PY_FILES)


def are_jobs_built(folder: Path) -> bool:
    """Whether the jobs in a folder are those of this project as it is now."""
    with tempfile.TemporaryDirectory() as made:
        build_jobs(Path(made))
        names = [PY_FILES, *(script.name for script in _job_scripts())]
        same, _, _ = filecmp.cmpfiles(made, folder, names, shallow=False)
        return set(same) == set(names)


def _job_scripts() -> list[Path]:
    return sorted((layout.PROJECT / "spark_jobs").glob("*.py"))


def _uv() -> str:
    found = shutil.which("uv")
    if found:
        return found
    private = layout.CACHE / "uv"
    with step("uv", [Path(__file__)], private / "bin/uv") as is_wanted:
        if is_wanted:
            _run([sys.executable, "-m", "venv", "--clear", str(private)], dict(os.environ))
            _run([str(private / "bin/pip"), "install", "--quiet", _UV], dict(os.environ))
    return str(private / "bin/uv")


@contextmanager
def step(name: str, inputs: Iterable[Path], result: Path) -> Iterator[bool]:
    """Whether the step must be done; noted as done when the block ends well. One process at a time."""
    stamps = layout.CACHE / "stamps"
    stamps.mkdir(parents=True, exist_ok=True)
    wanted = hashlib.sha256(b"\0".join(path.read_bytes() for path in inputs)).hexdigest()
    with (stamps / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = stamps / name
        is_done = result.exists() and stamp.exists() and stamp.read_text() == wanted
        yield not is_done
        stamp.write_text(wanted)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = f"{done.stdout}{done.stderr}".strip()[-3000:]
        raise ServiceUnavailable(f"`{' '.join(command)}` failed with code {done.returncode}:\n{said}")


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)
