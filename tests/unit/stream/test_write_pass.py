"""What the tasks of a pass over a micro-batch find, and how their findings become one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from medallion_spark.stream.batch_writer import Written, _Repeats
from medallion_spark.verdicts.deduplicate import REPEATS

FIRST = pa.table(
    {
        "topic": ["customers", "customers", "customers_replay", "customers"],
        "partition": pa.array([0, 1, 0, 0], pa.int32()),
        "offset": [5, 5, 5, 6],
        "verdict": ["silver", "silver", "silver", "rejected"],
        "reasons": pa.array([[], [], [], ["malformed"]], pa.list_(pa.string())),
    }
)


def worked_in(*repeats: tuple[str, int, int, str]) -> list[tuple[str, list[str]]]:
    names = ("topic", "partition", "offset", "repeat")
    rows = [{**dict(zip(names, one, strict=True)), "incarnation": 0} for one in repeats]
    judged = _Repeats(pa.Table.from_pylist(rows, schema=REPEATS)).worked_in(FIRST)
    return list(zip(judged["verdict"].to_pylist(), judged["reasons"].to_pylist(), strict=True))


def test_without_repeats_the_first_verdicts_stand() -> None:
    assert worked_in() == [("silver", []), ("silver", []), ("silver", []), ("rejected", ["malformed"])]


def test_repeats_change_the_records_at_their_own_coordinates_alone() -> None:
    assert worked_in(("customers", 1, 5, "duplicate"), ("customers_replay", 0, 5, "conflict")) == [
        ("silver", []),
        ("duplicate", []),
        ("rejected", ["conflict"]),
        ("rejected", ["malformed"]),
    ]


def test_offsets_beside_those_of_repeats_are_left_alone() -> None:
    assert worked_in(("customers", 0, 4, "duplicate"), ("customers", 0, 7, "conflict"))[0] == ("silver", [])


def written(arrivals: list[int], weight: float, **counts: int) -> Written:
    return Written(
        {"bronze": []}, Counter(counts), Counter(), np.array(arrivals), np.full(len(arrivals), weight)
    )


def test_the_findings_of_tasks_add_up() -> None:
    both = written([10, 30], 1.0, malformed=2)
    both.add(written([20], 98.0, malformed=1, late=1))
    assert both.by_reason == {"malformed": 3, "late": 1}
    assert [both.arrival(share) for share in (0.0, 0.5, 0.999)] == [10, 20, 30]


def test_there_is_no_arrival_where_nothing_went_to_silver() -> None:
    assert written([], 0.0).arrival(0.5) is None
