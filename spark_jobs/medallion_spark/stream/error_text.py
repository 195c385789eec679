"""What operators learn of an error."""

from __future__ import annotations

from medallion_contracts.errors import MedallionError


def reason_of(error: BaseException) -> str:
    """What to tell operators of an error: its class and first line, without any record's content."""
    if isinstance(error, MedallionError):
        return str(error)
    return f"{type(error).__name__}: {first_line(str(error))}"


def kind_of(error: BaseException | None) -> str | None:
    """The class of one of the platform's own errors: what it means for the records depends on it."""
    return type(error).__name__ if isinstance(error, MedallionError) else None


def first_line(text: str) -> str:
    """The first line of a text, cut to 300 characters."""
    lines = text.strip().splitlines()
    return lines[0][:300] if lines else ""
