"""Times in control files: ISO 8601 text, UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_text() -> str:
    """This moment as control files spell it."""
    return datetime.now(UTC).isoformat()


def parse_utc(text: object) -> datetime | None:
    """The moment of an ISO 8601 text (UTC if it names no offset); None when it is no such text."""
    if not isinstance(text, str):
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def age_seconds(text: object, now: datetime | None = None) -> float | None:
    """Seconds from the moment of a text to now.

    Args:
        text: ISO 8601; anything else is allowed and has no age.
        now: the moment to count to, if not this one.

    Returns:
        None when the text names no moment.
    """
    moment = parse_utc(text)
    return None if moment is None else ((now or datetime.now(UTC)) - moment).total_seconds()
