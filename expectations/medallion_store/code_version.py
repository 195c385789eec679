"""Which code made something: a fingerprint of the sources themselves, so that no build step can forget it."""

from __future__ import annotations

from functools import cache

from medallion_store.fingerprint import fingerprint, package_files


@cache
def code_version(*packages: str) -> str:
    """Twelve hexadecimal digits that change with any Python source of the packages, in a folder or a zip."""
    return fingerprint(package_files(packages, (".py",)), 12)
