"""The strict parser: one specification a row of the table in the README (what happens to a record)."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from further_fields import further_fields
from medallion_contracts.judge import MOST_UNKNOWN, EventJudge
from medallion_contracts.loader import load_dataset
from medallion_contracts.strict_json import MAX_DEPTH

EVENTS = load_dataset("customers").events
JUDGE = EventJudge(EVENTS)
GOOD: dict[str, object] = {
    "customer_id": "7590-VHVEG",
    "gender": "Female",
    "senior_citizen": False,
    "partner": True,
    "dependents": False,
    "tenure": 3,
    "phone_service": False,
    "internet_service": "DSL",
    "contract": "Month-to-month",
    "monthly_charges": 29.85,
    "total_charges": "89.55",
    "updated_at": "2026-11-01T10:00:00Z",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "email": "ada@example.org",
}
WHOLE = {**GOOD, **further_fields(GOOD)}


def value(**changes: object) -> bytes:
    """The good event with some fields changed; None is JSON null, ... removes the field."""
    return json.dumps({k: v for k, v in {**WHOLE, **changes}.items() if v is not ...}).encode()


def raw(field: str, literal: str) -> bytes:
    """The good event with one field's JSON text replaced as it stands."""
    return value(**{field: "@@"}).replace(b'"@@"', literal.encode())


def test_a_whole_event_becomes_typed_fields_and_nothing_else() -> None:
    verdict = JUDGE.judge(value())
    assert verdict.reasons == verdict.defaulted == verdict.unknown == ()
    assert {name: verdict.fields[name] for name in GOOD} == {
        **GOOD,
        "monthly_charges": Decimal("29.85"),
        "total_charges": Decimal("89.55"),
        "updated_at": datetime(2026, 11, 1, 10, tzinfo=UTC),
    }


@pytest.mark.parametrize(
    "bad",
    [
        None,
        b"",
        b" ",
        b"\xff\xfe",
        value().replace(b"Ada", b"\xc3\x28"),
        b"plain text",
        b"[]",
        b'"text"',
        b"12",
        b"null",
        value() + b" x",
        value() + value(),
        b"\xef\xbb\xbf" + value(),
        value()[:-1] + b', "tenure": 4}',
        value()[:-1] + b', "x": {"a": [{"b": 1, "\\u0062": 2}]}}',
        raw("tenure", "NaN"),
        raw("monthly_charges", "Infinity"),
        raw("monthly_charges", "-Infinity"),
        value().replace(b'"', b"'"),
        value().replace(b"Ada", b"A\nda"),
        value()[:-1] + b",}",
        b"[" * 100_000,
        value(x=None).replace(b"null", b"[" * MAX_DEPTH + b"]" * MAX_DEPTH),
    ],
)
def test_anything_but_one_strict_json_object_is_malformed(bad: bytes | None) -> None:
    verdict = JUDGE.judge(bad)
    assert verdict.reasons == ("malformed",)
    assert not verdict.fields


def test_deep_nesting_within_the_limit_is_an_unknown_field() -> None:
    depth = MAX_DEPTH - 1
    verdict = JUDGE.judge(value(x=None).replace(b"null", b"[" * depth + b"]" * depth))
    assert verdict.reasons == ()
    assert verdict.unknown == ("x",)


def test_brackets_inside_text_do_not_count_as_nesting() -> None:
    assert JUDGE.judge(value(x="[{" * 10_000)).reasons == ()


@pytest.mark.parametrize("field", EVENTS.primary_key)
@pytest.mark.parametrize("given_value", [..., None, "", " \t"])
def test_a_required_field_that_is_absent_null_or_blank_is_missing(field: str, given_value: object) -> None:
    assert JUDGE.judge(value(**{field: given_value})).reasons == (f"missing:{field}",)


@pytest.mark.parametrize(
    ("field", "literal"),
    [
        ("customer_id", "12"),
        ("customer_id", "true"),
        ("gender", "1.5"),
        ("first_name", "{}"),
        ("email", "[]"),
        ("tenure", "12.0"),
        ("tenure", "1e1"),
        ("tenure", '"12"'),
        ("tenure", "true"),
        ("senior_citizen", "1"),
        ("senior_citizen", '"true"'),
        ("monthly_charges", "true"),
        ("monthly_charges", '"1e2"'),
        ("monthly_charges", '"12,5"'),
        ("monthly_charges", '" 12.5"'),
        ("updated_at", "1767225600"),
        ("updated_at", '"yesterday"'),
        ("updated_at", '"2026-01-01"'),
        ("updated_at", '"2026-01-01 10:00:00"'),
        ("updated_at", '"2026-02-30T10:00:00Z"'),
        ("updated_at", '"20260101T100000Z"'),
        ("updated_at", '"٢٠٢٦-01-01T10:00:00Z"'),
    ],
)
def test_another_json_type_is_refused_even_where_it_would_convert(field: str, literal: str) -> None:
    assert JUDGE.judge(raw(field, literal)).reasons == (f"type:{field}",)


@pytest.mark.parametrize(
    ("field", "literal"),
    [
        ("customer_id", '" 7590"'),
        ("customer_id", '"7590\\n"'),
        ("customer_id", '"' + "x" * 65 + '"'),
        ("customer_id", '"a\\u0000b"'),
        ("first_name", '"\\ud800"'),
        ("email", '"' + "x" * 255 + '"'),
        ("gender", '"robot"'),
        ("tenure", "-1"),
        ("tenure", "1201"),
        ("tenure", "9" * 6000),
        ("monthly_charges", "29.855"),
        ("monthly_charges", '"29.855"'),
        ("monthly_charges", "-0.01"),
        ("monthly_charges", "1e999999999999999999999"),
        ("monthly_charges", "1e-999999999999999999999"),
        ("total_charges", "10000000000"),
        ("updated_at", '"1999-12-31T23:59:59.999999Z"'),
        ("updated_at", '"2026-01-01T10:00:00.1234567Z"'),
        ("updated_at", '"9999-12-31T23:59:59-10:00"'),
    ],
)
def test_a_value_outside_the_contract_is_refused(field: str, literal: str) -> None:
    assert JUDGE.judge(raw(field, literal)).reasons == (f"value:{field}",)


@pytest.mark.parametrize(
    ("literal", "stored"),
    [
        ("29.85", "29.85"),
        ("29.850", "29.85"),
        ("3e1", "30.00"),
        ('"30"', "30.00"),
        ("-0.0", "0.00"),
        ("7", "7.00"),
    ],
)
def test_decimals_keep_their_exact_value(literal: str, stored: str) -> None:
    assert str(JUDGE.judge(raw("monthly_charges", literal)).fields["monthly_charges"]) == stored


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-01T10:00:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("2026-01-01T10:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("2026-01-01T10:00:00.5+02:00", datetime(2026, 1, 1, 8, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-01T10:00:00.123456-0330", datetime(2026, 1, 1, 13, 30, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_timestamps_become_utc_and_have_none_when_no_offset_is_given(text: str, moment: datetime) -> None:
    assert JUDGE.judge(value(updated_at=text)).fields["updated_at"] == moment


def test_enum_matching_ignores_case_and_outer_space_and_stores_the_contracts_spelling() -> None:
    fields = JUDGE.judge(value(gender=" feMALE ", contract="TWO YEAR", internet_service="no")).fields
    assert (fields["gender"], fields["contract"], fields["internet_service"]) == ("Female", "Two year", "No")


@pytest.mark.parametrize("given_value", [..., None, "", "  "])
def test_absent_optional_fields_get_the_default_and_are_listed(given_value: object) -> None:
    optional = [column for column in EVENTS.columns if not column.required]
    verdict = JUDGE.judge(value(**{column.name: given_value for column in optional}))
    assert verdict.reasons == ()
    assert verdict.defaulted == tuple(column.name for column in optional)
    assert verdict.fields["gender"] == "Unknown"
    assert set(verdict.fields) == set(EVENTS.column_names)


def test_absent_total_charges_is_monthly_charges_times_tenure() -> None:
    verdict = JUDGE.judge(value(total_charges=" ", monthly_charges="20.25", tenure=4))
    assert verdict.fields["total_charges"] == Decimal("81.00")
    assert verdict.defaulted == ("total_charges",)


def test_a_record_carries_all_its_reasons_in_the_contracts_order() -> None:
    verdict = JUDGE.judge(value(updated_at=None, tenure="x", gender="robot", customer_id=7))
    assert verdict.reasons == ("type:customer_id", "value:gender", "type:tenure", "missing:updated_at")
    assert "monthly_charges" in verdict.fields, "valid fields are still known"


def test_a_record_with_any_number_of_unknown_fields_names_the_first_of_them() -> None:
    event = value(**{f"u{number}": 1 for number in range(70_000)})
    first = tuple(f"u{number}" for number in range(MOST_UNKNOWN))
    assert JUDGE.judge(event).unknown == first
    refused = EventJudge(EVENTS, reject_unknown=True).judge(event)
    assert refused.reasons == tuple(f"unknown:{name}" for name in first)


def test_unknown_fields_are_accepted_and_named_or_refused_by_setting() -> None:
    event = value(**{"color": "red", "\u202e\x00": 1})
    assert JUDGE.judge(event).reasons == ()
    assert JUDGE.judge(event).unknown == ("color", "\\u202e\\u0000")
    assert EventJudge(EVENTS, reject_unknown=True).judge(event).reasons == (
        "unknown:color",
        "unknown:\\u202e\\u0000",
    )


@given(st.binary(max_size=200) | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_judging_never_raises_on_bytes(anything: bytes) -> None:
    JUDGE.judge(anything)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(EVENTS.column_names), _JSON))
def test_every_record_is_either_complete_or_has_reasons(fields: dict[str, object]) -> None:
    verdict = JUDGE.judge(json.dumps({**GOOD, **fields}).encode())
    assert bool(verdict.reasons) != (set(verdict.fields) == set(EVENTS.column_names))
