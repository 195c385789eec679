"""Makes a value fit to be shown to people who may not see it."""

from __future__ import annotations

LONGEST = 40
_KEPT = frozenset(" .,:;+-/@_()")


def masked(value: object) -> str:
    """The shape of a value instead of its content: letters become x, digits 9, anything unusual ?.

    Punctuation stays, so that a reader sees a lost @, a sign, too many decimals; `null` is shown as such, and
    a long value is cut and its length given. Characters beyond ASCII are shown by kind only, which also takes
    markup and direction marks out of what a mail or page shows.
    """
    if value is None:
        return "null"
    text = str(value)
    shape = "".join(map(_masked_character, text[:LONGEST]))
    return f"{shape}... ({len(text)} characters)" if len(text) > LONGEST else shape


def _masked_character(character: str) -> str:
    if character in _KEPT:
        return character
    if character.isalpha():
        return "x"
    return "9" if character.isdigit() else "?"
