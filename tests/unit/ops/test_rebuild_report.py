"""A rebuild that should have changed nothing and did is told."""

from __future__ import annotations

import pytest

from medallion_contracts.errors import StreamError
from medallion_ops.rebuild.tasks import check_as_judged

NONE = {"missing": 0, "unexpected": 0, "repeated": 0, "changed": 0}


def test_an_as_judged_rebuild_that_changed_silver_is_an_error() -> None:
    with pytest.raises(StreamError, match="2 missing, 1 changed rows"):
        check_as_judged({"mode": "as-judged", "silver_differences": {**NONE, "missing": 2, "changed": 1}})


def test_no_difference_and_judging_again_are_fine() -> None:
    check_as_judged({"mode": "as-judged", "silver_differences": NONE})
    check_as_judged({"mode": "judge-again", "silver_differences": {**NONE, "unexpected": 5}})


def test_a_silver_that_was_gone_is_reported_and_no_error() -> None:
    found = {"mode": "as-judged", "silver_differences": {**NONE, "missing": 7}, "silver_rows": 7}
    check_as_judged({**found, "made_again": ["silver"]})
    with pytest.raises(StreamError, match="7 missing rows"):
        check_as_judged({**found, "made_again": ["quarantine"]})
