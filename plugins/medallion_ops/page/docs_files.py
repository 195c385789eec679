"""Files of the Data Docs, from their folder alone."""

from __future__ import annotations

import mimetypes
from pathlib import Path

SUFFIXES = {".html", ".css", ".svg", ".png", ".ico", ".otf"}


def docs_file(folder: Path, path: str) -> Path | None:
    """The file of an address; None when there is none, or it is not one of the pages.

    Args:
        folder: of the Data Docs.
        path: from an address: untrusted.
    """
    root = folder.resolve()
    try:
        found = (root / path).resolve()
        if not found.is_relative_to(root):
            return None
        found = found / "index.html" if found.is_dir() else found
        # What Great Expectations keeps beside its pages (results as JSON) is not for readers.
        return found if found.suffix in SUFFIXES and found.is_file() else None
    except (OSError, ValueError):
        return None


def media_type(path: Path) -> str:
    """What a browser is to take a file for."""
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"
