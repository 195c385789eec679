"""What a batch's tasks count: within bounds, whatever the records bring."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from medallion_spark.stream import batch_writer
from medallion_spark.stream.batch_writer import MOST_NAMES, _counts, _most

MOST = batch_writer._MOST_NAMES_OF_A_TASK


def lists(names: list[list[str]]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(names, pa.list_(pa.string()))])


def test_counts_are_exact_while_the_names_are_few() -> None:
    assert _counts(lists([["a", "b"], [], ["a"]])) == Counter(a=2, b=1)
    assert _counts(lists([])) == Counter()


def test_of_very_many_names_the_most_frequent_are_kept() -> None:
    many = [f"once-{number}" for number in range(10 * MOST)]
    found = _counts(lists([many, ["often"] * 5, ["twice"] * 2]))
    assert len(found) == MOST
    assert (found["often"], found["twice"]) == (5, 2)
    for _ in range(3):
        found = _most(
            found + Counter({f"{len(found)}-{number}": 1 for number in range(MOST)}) + Counter(often=1)
        )
    assert len(found) == MOST >= MOST_NAMES
    assert found["often"] == 8
