"""The fast half of the strict parser: it takes ordinary records, and none that the judge would not."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_log import event
from medallion_contracts.compile.plain_parser import PlainParser
from medallion_contracts.judge import EventJudge
from medallion_contracts.loader import load_dataset
from new_fields import NewField, as_value, dataset_with, new_field, new_fields

EVENTS = load_dataset("customers").events
JUDGE = EventJudge(EVENTS)
PARSER = PlainParser(EVENTS)


def whole(**changes: object) -> bytes:
    """A good event as JSON, with changes."""
    return json.dumps(event(**changes), ensure_ascii=False).encode()  # type: ignore[arg-type]  # also odd types


def check(values: list[bytes | None], parser: PlainParser = PARSER, judge: EventJudge = JUDGE) -> set[int]:
    """Which of the values are taken; each must be what the judge makes of it."""
    positions, fields, filled = parser.parse(pa.array(values, pa.binary()))
    assert len(positions) == len(fields) == len(filled)
    assert sorted(set(positions)) == list(positions)
    for position, row, names in zip(positions, fields.to_pylist(), filled.to_pylist(), strict=True):
        judgement = judge.judge(values[position])
        assert judgement.reasons == judgement.unknown == (), values[position]
        assert dict(judgement.fields) == row, values[position]
        assert list(judgement.defaulted) == names, values[position]
    return {int(position) for position in positions}


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_EDGES = ["", " ", "a ", " a", "é", "ẞ", "\u00a0x", "x\u2003", "a\\b", 'a"b', "A\tb", "\x7f", "٣"]
_EDGY = st.sampled_from(_EDGES)
_NUMBERS = """0 -0 0.0 1.5 1.50 1.505 01 1e2 1E+2 -1 999999999 9999999999.99 1. .5 null true 100000 100000.01
1200 "0" "1.5" "1.505" "-1" "1e2" "٣" "1_0" 1201 2147483648"""
_NUMBER = st.sampled_from([*_NUMBERS.split(), '" 1"'])
_MOMENTS = """2026-11-01T12:00:00Z 2026-11-01T12:00:00 2026-11-01T12:00:00.123456+05:30 2026-11-01_12:00:00Z
2026-02-30T00:00:00Z 2026-11-01T24:00:00Z 2026-11-01T23:59:60Z 0000-01-01T00:00:00Z 1999-12-31T23:59:59Z
2000-01-01T00:00:00+00:01 2026-11-01T12:00:00+19:00 2026-11-01T12:00Z 2026-11-01T12:00:00.1234567Z
9999-12-31T23:59:59-10:00 2026-11-01 +2026-11-01T12:00:00Z 2026-11-01T12:00:00.5"""
_MOMENT = st.sampled_from([moment.replace("_", " ") for moment in _MOMENTS.split()])


def _field(name: str) -> st.SearchStrategy[str]:
    """JSON text for a field: often what is there, else something near what it may be."""
    usual = st.just(json.dumps(event()[name]))
    text = st.one_of(_TEXT, _EDGY).map(lambda value: json.dumps(value, ensure_ascii=False))
    odd = {"tenure": _NUMBER, "monthly_charges": _NUMBER, "total_charges": _NUMBER}.get(name)
    if name == "updated_at":
        odd = _MOMENT.map(json.dumps)
    if name in ("gender", "contract", "internet_service"):
        odd = st.sampled_from(['"Male"', '"male"', '"Male "', '"One year"', '"DSL"', '"No"', '""', "null"])
    if isinstance(event()[name], bool):
        odd = st.sampled_from(["true", "false", '"true"', "1", "null", "True"])
    return st.one_of(usual, usual, usual, text if odd is None else odd)


_SPACE = st.sampled_from(["", "", "", " ", "\n\t", "\r", "\u00a0", "\v"])


@st.composite
def _values(draw: st.DrawFn) -> bytes:
    names = draw(st.permutations(list(event()))) if draw(st.booleans()) else list(event())
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        del names[draw(st.integers(0, len(names) - 1))]
    if draw(st.integers(0, 9)) == 0:
        names[draw(st.integers(0, len(names) - 1))] = draw(st.sampled_from([*names, "other"]))
    texts = [draw(_EDGY if name == "other" else _field(name)) for name in names]
    pairs = [f'"{name}"{draw(_SPACE)}:{draw(_SPACE)}{text}' for name, text in zip(names, texts, strict=True)]
    joined = f"{draw(_SPACE)},{draw(_SPACE)}".join(pairs)
    return f"{draw(_SPACE)}{{{joined}}}{draw(_SPACE)}".encode()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.lists(_values(), min_size=20, max_size=80))
def test_what_is_taken_the_judge_accepts_with_the_same_values(values: list[bytes]) -> None:
    check(list(values))


ORDINARY = [
    whole(),
    whole(last_name="Müller-Lüdenscheidt", first_name="José", email="Δ@example.org"),
    json.dumps(dict(reversed(event().items())), indent=2).encode(),
    whole(monthly_charges="0", total_charges=12, tenure=0, updated_at="2026-11-01T12:00:00.5+02:00"),
    whole(updated_at="2026-11-01T12:00:00.123456"),
    whole(first_name="x" * 100, tenure=1200, monthly_charges=100000),
    whole(tenure=..., email=...),
    whole(total_charges=...),
]


def test_ordinary_records_are_taken() -> None:
    assert check(list(ORDINARY)) == set(range(len(ORDINARY)))


@pytest.mark.parametrize(
    "odd",
    [
        None,
        b"",
        b"{}",
        b"\xff",
        whole()[:-1],
        whole() + whole(),
        whole(customer_id=...),
        whole(updated_at=...),
        whole(total_charges=..., monthly_charges=-1),
        whole(tenure=None),
        whole(extra=1),
        whole(first_name="x" * 101),
        whole(tenure=1201),
        whole(updated_at="2026-02-30T00:00:00Z"),
        whole(updated_at="9999-12-31T23:59:59-10:00"),
        whole().replace(b'"gender"', b'"tenure": 3, "gender"'),
        whole().replace(b'"gender": "Female", ', b'"tenure": 3, '),
    ],
)
def test_one_odd_record_leaves_the_others_to_arrow(odd: bytes | None) -> None:
    values: list[bytes | None] = [whole(customer_id=f"c{number}") for number in range(300)]
    values[200] = odd
    taken = check(values)
    # A record that Arrow itself refuses takes few others with it.
    assert 200 not in taken
    assert len(taken) >= 230


def test_order_is_kept_among_all_kinds() -> None:
    chance = random.Random(1)
    values = [chance.choice([*ORDINARY, b"{", whole(tenure=-1)]) for _ in range(1000)]
    assert check(list(values)) == {n for n, value in enumerate(values) if value in ORDINARY}


def test_a_record_that_lacks_every_optional_field_is_taken() -> None:
    least = json.dumps({name: event()[name] for name in ("customer_id", "updated_at")}).encode()
    assert check([least, whole(), least]) == {0, 1, 2}


def test_a_product_that_does_not_fit_is_left_to_the_judge(tmp_path: Path) -> None:
    field = new_field("squared", "whole", "derived")
    narrow = replace(field, entry={**field.entry, "logicalTypeOptions": {"maximum": 100}})
    events = dataset_with(tmp_path, [narrow]).events
    values = [whole(tenure=tenure) for tenure in (3, 10, 11)]
    assert check(list(values), PlainParser(events), EventJudge(events)) == {0, 1}
    assert EventJudge(events).judge(values[2]).reasons == ("value:squared",)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(fields=new_fields(), data=st.data())
def test_records_with_and_without_new_fields_are_taken(
    tmp_path_factory: pytest.TempPathFactory, fields: list[NewField], data: st.DataObject
) -> None:
    events = dataset_with(tmp_path_factory.mktemp("contracts"), fields).events
    values: list[bytes | None] = []
    for _ in range(20):
        sent = {
            field.name: data.draw(st.sampled_from(field.values))
            for field in fields
            if data.draw(st.booleans())
        }
        values.append(as_value({**event(), **sent}))
    assert check(values, PlainParser(events), EventJudge(events)) == set(range(len(values)))


def test_decimals_of_38_digits_stay_exact(tmp_path: Path) -> None:
    field = new_field("huge", "amount", "default")
    wide = replace(field, entry={**field.entry, "physicalType": "decimal(38,4)", "logicalTypeOptions": {}})
    judge = EventJudge(dataset_with(tmp_path, [wide]).events)
    text = "9" * 34 + ".9999"
    assert judge.judge(whole().replace(b"{", b'{"huge": ' + text.encode() + b", ", 1)).fields[
        "huge"
    ] == Decimal(text)
