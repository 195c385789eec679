"""Fingerprints of named files: of what code and contracts say, wherever they are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable


def fingerprint(files: Iterable[tuple[str, bytes]], digits: int) -> str:
    """Hexadecimal digits that change with any name or byte of the files.

    Args:
        files: names and contents, in an order that does not change by itself.
        digits: how many, at most 64.
    """
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:digits]


def package_files(packages: Iterable[str], suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of the files of packages, in a folder or a zip.

    Args:
        packages: names of importable packages.
        suffixes: ends of the names of the files wanted.
    """
    for package in packages:
        yield from _files(resources.files(package), package, suffixes)


def _files(folder: Traversable, path: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(entry, f"{path}/{entry.name}", suffixes)
        elif entry.name.endswith(suffixes):
            yield f"{path}/{entry.name}", entry.read_bytes()
