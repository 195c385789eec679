"""The version of code follows its sources, wherever they are imported from."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import medallion_store

ASK = "from medallion_store.code_version import code_version; print(code_version('medallion_store'))"


def version_of(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ASK], env={"PYTHONPATH": str(path)}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the sources that a test may change."""
    [source] = medallion_store.__path__
    for file in Path(source).rglob("*.py"):
        target = tmp_path / "copy/medallion_store" / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    return tmp_path / "copy"


def test_it_is_the_same_in_a_folder_and_in_the_zip_of_the_jobs(copy: Path, tmp_path: Path) -> None:
    packed = tmp_path / "medallion.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for source in copy.rglob("*.py"):
            file.write(source, source.relative_to(copy))

    assert version_of(packed) == version_of(copy)
    assert len(version_of(copy)) == 12


def test_a_changed_or_a_new_source_changes_it(copy: Path) -> None:
    before = version_of(copy)
    (copy / "medallion_store/added.py").write_text("")
    added = version_of(copy)
    (copy / "medallion_store/added.py").write_text("ADDED = True")

    assert len({before, added, version_of(copy)}) == 3
