"""Parameters are checked as a whole, before anything is read or sent."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medallion_contracts.errors import ParameterError
from medallion_ops.producer.parameters import Parameters, Source, amount

FILE = Path("events.csv")
SYNTHETIC = Parameters(Source.SYNTHETIC)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ParameterError) as error:
        Parameters(Source.CSV, rate=0, count=0, broken=3, late=1.5, as_of=datetime(2026, 1, 1, tzinfo=UTC))
    named = [problem.partition(":")[0] for problem in error.value.problems]
    assert named == ["file", "rate", "count", "broken", "late", "as_of"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"file": FILE}, "file: the source synthetic takes none"),
        ({"loop": True}, "loop: the source synthetic never ends"),
        ({"customers": 0}, "customers: must be from 1"),
        ({"rate": float("nan")}, "rate: must be above 0"),
        ({"rate": float("inf")}, "rate: must be above 0"),
        ({"broken": -1, "count": 5}, "broken: must be a number of records"),
        ({"late": float("nan")}, "late: must be a number of records"),
        ({"duplicated": 7}, "duplicated: a run without end needs a fraction"),
        ({"as_of": datetime(2026, 1, 1, tzinfo=UTC)}, "as_of: a run without end"),
        ({"count": 5, "as_of": datetime(2026, 1, 1)}, "as_of: needs an offset"),  # noqa: DTZ001  # the case
        ({"count": 5, "as_of": datetime.now(UTC) + timedelta(hours=1)}, "lies in the future"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ParameterError, match=problem):
        replace(SYNTHETIC, **changes)  # type: ignore[arg-type]  # one field at a time, of its own type


@pytest.mark.parametrize("source", [Source.TELCO, Source.CSV, Source.JSONL])
def test_a_file_source_needs_a_file(source: Source) -> None:
    with pytest.raises(ParameterError, match=f"file: the source {source} needs one"):
        Parameters(source)


def test_only_a_signal_ends_a_loop_or_a_synthetic_run_without_count() -> None:
    assert SYNTHETIC.is_endless
    assert Parameters(Source.CSV, FILE, loop=True).is_endless
    assert not Parameters(Source.CSV, FILE, loop=True, count=3).is_endless
    assert not Parameters(Source.CSV, FILE).is_endless


def test_an_amount_is_a_number_of_records_or_a_fraction() -> None:
    assert (amount("12"), type(amount("12"))) == (12, int)
    assert (amount("1.0"), type(amount("1.0"))) == (1.0, float)
    with pytest.raises(ValueError, match="could not convert"):
        amount("many")
