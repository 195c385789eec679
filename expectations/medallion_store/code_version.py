"""Which code made something: a fingerprint of the sources themselves, so that no build step can forget it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable


@cache
def code_version(*packages: str) -> str:
    """Twelve hexadecimal digits that change with any Python source of the packages, in a folder or a zip."""
    digest = hashlib.sha256()
    for package in packages:
        for path, source in _sources(resources.files(package), package):
            digest.update(path.encode() + source)
    return digest.hexdigest()[:12]


def _sources(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry, f"{path}/{entry.name}")
        elif entry.name.endswith(".py"):
            yield f"{path}/{entry.name}", entry.read_bytes()
