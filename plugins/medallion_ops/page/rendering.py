"""Templates of the page: everything from data is escaped, and freed of characters that do not print."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from medallion_ops.alerts.mail import printable

if TYPE_CHECKING:
    from jinja2 import Environment

LONGEST_TEXT = 300
_MANY = 9_999
NONE = "\N{EN DASH}"


def render(template: str, context: Mapping[str, Any]) -> str:
    """A template of this folder as HTML.

    Args:
        template: its name without `.html.j2`.
        context: what it shows.
    """
    return _environment().get_template(f"{template}.html.j2").render(context)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("medallion_ops.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "time": time, "span": span, "text": text}
    return environment


def text(value: object) -> str:
    """Text for people: of one line, printable, not endless."""
    shown = printable(str(value if value is not None else ""))
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[:LONGEST_TEXT]}… ({len(shown):,} characters)"


def number(value: float | None) -> str:
    """A number with thousands apart; a dash for none."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if abs(value) > _MANY or float(value).is_integer() else f"{value:,.1f}"


def time(value: datetime | None) -> str:
    """A time in UTC; a dash for none."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else NONE


def span(seconds: float | None) -> str:
    """A duration for people: 45 s, 12 min, 3.5 h, 2.1 days; a dash for none."""
    if seconds is None:
        return NONE
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
