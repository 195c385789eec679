"""Whether a checkpoint fits the ledger: older, ahead, or of the same past."""

from __future__ import annotations

import pytest

from medallion_spark.stream.checkpoint import Checkpoint
from medallion_spark.stream.checkpoint_rules import compare_checkpoint

Offsets = dict[tuple[str, int], int]
WHERE = ("customers", 0)


def at(*offsets: int) -> Offsets:
    return {("customers", number): offset for number, offset in enumerate(offsets)}


def checkpoint(
    planned: int | None, finished: int | None, planned_ends: Offsets, finished_ends: Offsets, start: Offsets
) -> Checkpoint:
    return Checkpoint("query", planned, finished, planned_ends, finished_ends, start)


START = at(0, 0)
FITS = {
    "all is done": (checkpoint(4, 4, at(10, 8), at(10, 8), START), 4, at(10, 8)),
    "killed after the ledger, before Spark's commit": (
        checkpoint(4, 3, at(10, 8), at(6, 5), START),
        4,
        at(10, 8),
    ),
    "killed before the ledger": (checkpoint(4, 3, at(10, 8), at(6, 5), START), 3, at(6, 5)),
    "a new query that has planned nothing": (checkpoint(None, None, {}, {}, {}), None, at(10, 8)),
    "a new query after a recovery": (checkpoint(None, None, {}, {}, at(10, 8)), None, at(10, 8)),
    "its first batch is under way": (checkpoint(0, None, at(12, 8), {}, at(10, 8)), None, at(10, 8)),
    "the very first query": (checkpoint(0, None, at(12, 8), {}, START), None, {}),
    "a partition that came later": (checkpoint(4, 4, at(10, 8, 3), at(10, 8, 3), START), 4, at(10, 8, 3)),
    "an idle partition that begins late": (checkpoint(4, 4, at(10, 8), at(10, 8), at(0, 8)), 4, at(10)),
}


@pytest.mark.parametrize(("spark", "last_batch", "until"), FITS.values(), ids=FITS.keys())
def test_a_checkpoint_of_the_same_past_fits(
    spark: Checkpoint, last_batch: int | None, until: Offsets
) -> None:
    found = compare_checkpoint(spark, last_batch, until)
    assert (found.older, found.ahead) == (None, ())


OLDER = {
    "it did not plan the ledger's batch": (checkpoint(3, 3, at(6, 5), at(6, 5), START), 4, at(10, 8)),
    "it lost its offsets": (checkpoint(None, None, {}, {}, START), 4, at(10, 8)),
    "it planned the batch otherwise": (checkpoint(4, 3, at(9, 8), at(6, 5), START), 4, at(10, 8)),
    "of another query, from before": (checkpoint(4, 4, at(9, 8), at(9, 8), START), None, at(10, 8)),
    "it does not know a partition": (checkpoint(4, 4, at(10), at(10), at(0)), 4, at(10, 8)),
}


@pytest.mark.parametrize(("spark", "last_batch", "until"), OLDER.values(), ids=OLDER.keys())
def test_an_older_checkpoint_is_named(spark: Checkpoint, last_batch: int | None, until: Offsets) -> None:
    assert compare_checkpoint(spark, last_batch, until).older is not None


AHEAD = {
    "the ledger lost rows": (checkpoint(4, 4, at(10, 8), at(10, 8), START), 3, at(6, 8), (6, 10)),
    "a copied lake": (checkpoint(9, 8, at(50, 8), at(40, 8), START), None, at(10, 8), (10, 40)),
    "an empty ledger": (checkpoint(1, 1, at(7, 0), at(7, 0), at(2, 0)), None, {}, (2, 7)),
    "the planned end was done by the ledger, and more": (
        checkpoint(4, 4, at(10, 8), at(10, 8), START),
        4,
        at(9, 8),
        (9, 10),
    ),
}


@pytest.mark.parametrize(("spark", "last_batch", "until", "hole"), AHEAD.values(), ids=AHEAD.keys())
def test_where_a_checkpoint_is_ahead_of_the_ledger_is_named(
    spark: Checkpoint, last_batch: int | None, until: Offsets, hole: tuple[int, int]
) -> None:
    found = compare_checkpoint(spark, last_batch, until)
    assert found.older is None
    assert [(one.where, one.start, one.until) for one in found.ahead] == [(WHERE, *hole)]
