"""A control file as it was read, and the one way to read its bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from medallion_contracts.errors import ServiceUnavailable


@dataclass(frozen=True)
class StoredFile:
    """A file as it was read.

    Args:
        content: the JSON object; None when there is no file, or when it holds something else.
        tag: changes with the content; None when there is no file.
    """

    content: dict[str, Any] | None
    tag: str | None


def parse_object(content: bytes) -> dict[str, Any] | None:
    """The JSON object in a file's bytes; None when they are something else."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def object_of(stored: StoredFile, path: str) -> dict[str, Any] | None:
    """The object of a loaded file.

    Args:
        stored: the file.
        path: to name it by.

    Returns:
        None when there is no file.

    Raises:
        ServiceUnavailable: it holds something else.
    """
    if stored.content is None and stored.tag is not None:
        raise ServiceUnavailable(f"{path} does not hold a JSON object: remove it if no one knows what it is")
    return stored.content
