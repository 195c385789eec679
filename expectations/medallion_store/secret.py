"""A secret on its way from a setting to a client library."""

from __future__ import annotations

from typing import Any


class Secret:
    """A value that must not be shown; `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself: hand it to a client library, never to a log, an argument or XCom."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickling or serialising is how a secret would get into XCom or a trigger's row.
        raise TypeError("a secret cannot be serialised")
