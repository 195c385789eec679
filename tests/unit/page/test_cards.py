"""The cards of the page: what is not known is no tick."""

from __future__ import annotations

from typing import Any

from medallion_ops.monitor.limits import ServiceLevels
from medallion_ops.page.cards import Card, cards

LEVELS = ServiceLevels(silver_freshness=300, gold_freshness=7200)


def card(layer: str, **sample: Any) -> Card:
    found = cards(LEVELS, {"age": 10.0, **sample}, {}, {})
    return next(one for one in found if one.layer == layer)


def test_a_stream_that_gave_up_has_no_tick_and_says_so() -> None:
    for layer in ("bronze", "silver"):
        assert card(layer, backlog_age=10.0, stream_failed=False).state == "good"
        failed = card(layer, backlog_age=10.0, stream_failed=True)
        assert (failed.state, failed.trouble) == ("bad", "the stream gave up: see Incidents")
        assert card(layer, backlog_age=None).state == "unknown"
    assert card("gold", pending_age=10.0, stream_failed=True).state == "good"


def test_what_the_stream_warns_of_stands_beside_its_freshness() -> None:
    note = "a transaction is open since offset 7, and 72 offsets wait"
    assert card("bronze", backlog_age=10.0, stream_notes=[note]).notes == (note,)
    assert card("bronze", backlog_age=10.0).notes == ()
