"""Strict parsing on Spark: each row of the table of outcomes, hostile bytes, and both paths agreeing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from pyspark.sql import SparkSession

from kafka_log import NOON, Record, TestLake, event, frame_of, log_of
from medallion_contracts.loader import load_dataset
from medallion_spark.verdicts.parse import parse_records

DATASET = load_dataset("customers")


def whole(**changes: object) -> bytes:
    """A good event as JSON, with changes."""
    return json.dumps(event(**changes), ensure_ascii=False).encode()  # type: ignore[arg-type]  # also odd types


def literal(field: str, text: str) -> bytes:
    """A good event with one field's JSON text as it stands here."""
    return whole(**{field: "@@"}).replace(b'"@@"', text.encode())


MALFORMED: dict[str, bytes | None] = {
    "null": None,
    "empty": b"",
    "blank": b"  ",
    "not JSON": b"customer",
    "an array": b"[" + whole() + b"]",
    "a number": b"1",
    "text after the object": whole() + b" x",
    "two objects": whole() + whole(),
    "not UTF-8": whole().replace(b"Ada", b"Ad\xff"),
    "an overlong encoding": whole().replace(b"Ada", b"\xc0\xaf"),
    "an encoded surrogate": whole().replace(b"Ada", b"\xed\xa0\x80"),
    "UTF-16": whole().decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + whole(),
    "equal keys": whole().replace(b'"gender"', b'"tenure": 3, "gender"'),
    "equal keys inside": literal("extra", '{"a": 1, "a": 2}'),
    "NaN": literal("monthly_charges", "NaN"),
    "Infinity": literal("monthly_charges", "-Infinity"),
    "single quotes": whole().replace(b'"', b"'"),
    "a comment": b"/* */" + whole(),
    "a comma too many": whole()[:-1] + b",}",
    "a raw newline in a string": whole().replace(b"Ada", b"A\nda"),
    "a leading zero": literal("tenure", "03"),
    "very deep": literal("extra", "[" * 100_000 + "]" * 100_000),
    "cut off": whole()[:-1],
}
REASONS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "no key": (whole(customer_id=...), ("missing:customer_id",)),
    "null key": (whole(customer_id=None), ("missing:customer_id",)),
    "blank key": (whole(customer_id=" \t"), ("missing:customer_id",)),
    "no event time": (whole(updated_at=...), ("missing:updated_at",)),
    "number for string": (whole(first_name=12), ("type:first_name",)),
    "string for integer": (whole(tenure="3"), ("type:tenure",)),
    "fraction for integer": (literal("tenure", "3.0"), ("type:tenure",)),
    "exponent for integer": (literal("tenure", "3e0"), ("type:tenure",)),
    "string for boolean": (whole(partner="true"), ("type:partner",)),
    "number for boolean": (whole(partner=1), ("type:partner",)),
    "text for decimal": (whole(monthly_charges="a lot"), ("type:monthly_charges",)),
    "epoch for timestamp": (whole(updated_at=1793534400), ("type:updated_at",)),
    "no ISO 8601": (whole(updated_at="01.11.2026 12:00"), ("type:updated_at",)),
    "object for string": (whole(email={}), ("type:email",)),
    "out of range": (whole(tenure=-1), ("value:tenure",)),
    "a huge integer": (literal("tenure", "9" * 400), ("value:tenure",)),
    "a huge exponent": (literal("monthly_charges", "1e999999999"), ("value:monthly_charges",)),
    "three decimals": (literal("monthly_charges", "29.855"), ("value:monthly_charges",)),
    "too long": (whole(first_name="x" * 101), ("value:first_name",)),
    "not in the enum": (whole(contract="Three years"), ("value:contract",)),
    "blanks around the key": (whole(customer_id=" 7590"), ("value:customer_id",)),
    "nanoseconds": (whole(updated_at="2026-11-01T12:00:00.1234567Z"), ("value:updated_at",)),
    "before 2000": (whole(updated_at="1999-12-31T23:59:59Z"), ("value:updated_at",)),
    "NUL": (whole(first_name="A\0da"), ("value:first_name",)),
    "a lone surrogate": (literal("first_name", '"\\ud800"'), ("value:first_name",)),
    "in the future": (whole(updated_at="2026-11-03T00:00:00Z"), ("future",)),
    "several": (whole(tenure="x", gender="?", email=...), ("value:gender", "type:tenure")),
}
ACCEPTED: dict[str, tuple[bytes, dict[str, object]]] = {
    "whole": (whole(), {}),
    "another order": (json.dumps(dict(reversed(event().items()))).encode(), {}),
    "white space": (json.dumps(event(), indent=1).encode(), {}),
    "an escape": (literal("first_name", '"\\u0041da"'), {"first_name": "Ada"}),
    "other enum spelling": (whole(contract=" month-TO-month "), {"contract": "Month-to-month"}),
    "no offset is UTC": (whole(updated_at="2026-11-01T12:00:00"), {"updated_at": NOON}),
    "another offset": (whole(updated_at="2026-11-01T13:30:00+01:30"), {"updated_at": NOON}),
    "decimal as string": (whole(total_charges="1"), {"total_charges": "1.00"}),
    "control and bidi characters": (
        whole(last_name="\u202e\u0007\u2028x"),
        {"last_name": "\u202e\u0007\u2028x"},
    ),
    "emoji": (whole(last_name="👩‍🚀"), {"last_name": "👩‍🚀"}),
    "optional missing": (whole(gender=None, tenure=..., email=" "), {"gender": "Unknown", "tenure": 0}),
    "total missing": (whole(total_charges=...), {"total_charges": "89.55"}),
    "unknown field": (whole(extra={"a": [1]}), {}),
    "five minutes ahead": (whole(updated_at="2026-11-02T12:05:00Z"), {}),
    "a million bytes": (whole(extra="x" * 1_000_000), {}),
}


@pytest.fixture(scope="module")
def parsed(spark: SparkSession) -> dict[bytes | None, dict[str, Any]]:
    """Every value above, parsed in one go; keyed by the value."""
    values = [*MALFORMED.values(), *(v for v, _ in REASONS.values()), *(v for v, _ in ACCEPTED.values())]
    frame = frame_of(spark, log_of(values))
    rows = parse_records(frame, DATASET, clock=NOON + timedelta(days=1), lateness=None).toArrow().to_pylist()
    return {row["value"]: row for row in rows}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(parsed: Mapping[bytes | None, dict[str, Any]], case: str) -> None:
    assert parsed[MALFORMED[case]]["reasons"] == ["malformed"]


@pytest.mark.parametrize("case", REASONS)
def test_rejected_with_all_reasons(parsed: Mapping[bytes | None, dict[str, Any]], case: str) -> None:
    value, reasons = REASONS[case]
    assert tuple(parsed[value]["reasons"]) == reasons


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_with_normal_values(parsed: Mapping[bytes | None, dict[str, Any]], case: str) -> None:
    value, fields = ACCEPTED[case]
    row = parsed[value]
    assert row["reasons"] == []
    shown = {name: row["fields"][name] for name in fields}
    assert {n: v if not hasattr(v, "as_tuple") else str(v) for n, v in shown.items()} == fields
    assert all(row["fields"][name] is not None for name in DATASET.events.column_names)


def test_hostile_messages_stop_nothing_and_bronze_has_their_bytes(lake: TestLake) -> None:
    values = [*MALFORMED.values(), *(v for v, _ in REASONS.values()), *(v for v, _ in ACCEPTED.values())]
    log = log_of(values)
    odd = [
        Record(0, whole(), key=None, partition=1, headers=()),
        Record(1, None, key=b"\xff\x00", partition=1, headers=(("h", None), ("h", b"\xff"), ("", b""))),
        Record(2, bytes(range(256)), key=b"", partition=1),
    ]
    row = lake.send([*log, *odd])
    assert row is not None
    assert row.read == len(log) + len(odd)
    sent = {record.coordinates: record for record in (*log, *odd)}
    for stored in lake.rows("bronze"):
        record = sent.pop((stored["topic"], stored["partition"], stored["offset"]))
        assert (stored["key"], stored["value"]) == (record.key, record.value)
        headers = stored["headers"] and tuple((h["key"], h["value"]) for h in stored["headers"])
        assert (headers or None) == (record.headers or None)
    assert sent == {}
    lake.check()
