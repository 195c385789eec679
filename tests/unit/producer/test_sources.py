"""Customers that the producer makes events of."""

import csv
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest

from medallion_contracts.errors import SourceError
from medallion_contracts.judge import EventJudge
from medallion_contracts.loader import load_dataset
from medallion_ops.producer.faults import encode
from medallion_ops.producer.mappings.customers import TelcoCustomers
from medallion_ops.producer.names import People
from medallion_ops.producer.synthetic import SyntheticCustomers

TELCO = Path(__file__).parents[3] / "docker" / "local" / "data" / "telco-customer-churn.csv"
HEADER, FIRST, SECOND = TELCO.read_text().splitlines()[:3]
JUDGE = EventJudge(load_dataset("customers").events)
TIME = {"updated_at": "2026-11-01T10:00:00Z"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


class TestTelcoTable:
    def test_the_real_table_becomes_one_valid_event_a_customer_with_the_values_of_the_file(self) -> None:
        source = TelcoCustomers(TELCO, seed=0)
        assert source.check() == 7043
        with TELCO.open(newline="") as lines:
            for row, made in zip(csv.DictReader(lines), source, strict=True):
                judgement = JUDGE.judge(encode({**made.fields, **TIME}))
                assert not judgement.reasons, made.origin
                fields = judgement.fields
                assert made.key == fields["customer_id"] == row["customerID"]
                assert fields["gender"] == row["gender"]
                assert fields["senior_citizen"] == (row["SeniorCitizen"] == "1")
                assert fields["partner"] == (row["Partner"] == "Yes")
                assert fields["dependents"] == (row["Dependents"] == "Yes")
                assert fields["tenure"] == int(row["tenure"])
                assert fields["phone_service"] == (row["PhoneService"] == "Yes")
                assert fields["internet_service"] == row["InternetService"]
                assert fields["contract"] == row["Contract"]
                assert fields["monthly_charges"] == Decimal(row["MonthlyCharges"])
                if row["TotalCharges"].strip():
                    assert fields["total_charges"] == Decimal(row["TotalCharges"])
                    assert set(judgement.defaulted).isdisjoint(made.fields)
                else:
                    assert "total_charges" not in made.fields, "the stream derives it"
                    assert "total_charges" in judgement.defaulted

    def test_every_bad_cell_is_named_and_nothing_is_given(self, table: Path) -> None:
        bad = FIRST.replace(",0,Yes,", ",2,Maybe,").replace("29.85,29.85", "29.855,n/a")
        table.write_text("\n".join([HEADER, FIRST, bad, SECOND + ",extra"]))
        with pytest.raises(SourceError) as error:
            TelcoCustomers(table, seed=0).check()
        assert error.value.problems == (
            "line 3: SeniorCitizen must be 1 or 0",
            "line 3: Partner must be Yes or No",
            "line 3: MonthlyCharges must be an amount such as 29.85",
            "line 3: TotalCharges must be an amount such as 29.85",
            "line 4: 22 cells, the header has 21",
        )

    def test_many_problems_are_counted_not_listed(self, table: Path) -> None:
        table.write_text("\n".join([HEADER, *[FIRST + ",extra"] * 500]))
        with pytest.raises(SourceError) as error:
            TelcoCustomers(table, seed=0).check()
        assert error.value.problems[-1] == "... and 480 more"

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"", "line 1: no column Contract, Dependents, .*; it has 0 columns"),
            (HEADER.replace("tenure", "months").encode() + b"\n", "line 1: no column tenure; "),
            (HEADER.encode() + b",tenure\n", r"line 1: columns 6 and 22 have the same name \(tenure\)"),
            (HEADER.encode() + b"\n", "it holds no events"),
            (f"{HEADER}\n{FIRST}\n".encode() + b"\xff\xfe,x\n", "  - line 3: not UTF-8"),
            (b"\x89PNG\r\n\x1a\n" * 9, "  - line 1: not UTF-8"),
            (f"{HEADER}\n{FIRST}".encode() + b"\xc3", "  - line 2: not UTF-8"),
            (f'{HEADER}\n"7590"-VHVEG,{FIRST}\n'.encode(), "line 2: not valid CSV"),
        ],
    )
    def test_what_is_no_telco_table_is_refused(self, table: Path, content: bytes, problem: str) -> None:
        table.write_bytes(content)
        with pytest.raises(SourceError, match=problem):
            TelcoCustomers(table, seed=0).check()

    def test_a_missing_file_or_a_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"none\.csv cannot be read:\n.*No such file"):
            TelcoCustomers(tmp_path / "none.csv", seed=0).check()
        with pytest.raises(SourceError, match="Is a directory"):
            TelcoCustomers(tmp_path, seed=0).check()

    def test_a_file_that_changed_after_its_check_ends_the_run(self, table: Path) -> None:
        table.write_text(f"{HEADER}\n{FIRST}\n")
        source = TelcoCustomers(table, seed=0)
        source.check()
        table.write_text(f"{HEADER}\n{FIRST},extra\n")
        with pytest.raises(SourceError, match="changed while it was sent"):
            list(source)


class TestPeople:
    def test_a_customer_is_the_same_person_whoever_else_is_asked_for(self) -> None:
        alone = People(seed=5).person("7590-VHVEG", "Female")
        people = People(seed=5)
        crowd = [people.person(f"C{number}", "Male") for number in range(100)]
        assert people.person("7590-VHVEG", "Female") == alone
        assert len(set(crowd)) == 100
        assert People(seed=6).person("7590-VHVEG", "Female") != alone

    def test_addresses_are_ascii_of_reserved_domains_and_belong_to_one_customer(self) -> None:
        people = People(seed=-1)
        emails = [people.person(f"C{number}", "Unknown").email for number in range(2_000)]
        assert len(set(emails)) == 2_000
        for email in emails:
            assert email.isascii()
            name, _, domain = email.partition("@")
            assert domain in ("example.com", "example.net", "example.org")
            assert all(part.isalnum() for part in name.split(".")), email


class TestSyntheticCustomers:
    def test_the_same_seed_makes_the_same_events(self) -> None:
        first, again, other = (
            list(islice(SyntheticCustomers(seed, customers=50), 200)) for seed in (1, 1, 2)
        )
        assert first == again
        assert first != other

    @pytest.mark.parametrize("customers", [1, 2, 3, 10, 97, 1000])
    def test_each_customer_comes_once_a_round_and_keeps_its_identity(self, customers: int) -> None:
        events = list(islice(SyntheticCustomers(0, customers), 2 * customers))
        first, second = events[:customers], events[customers:]
        assert len({made.key for made in first}) == customers
        identity = [(made.key, made.fields["email"], made.fields["gender"]) for made in first]
        assert identity == [(made.key, made.fields["email"], made.fields["gender"]) for made in second]
        assert all(
            now.fields["tenure"] == before.fields["tenure"] + 1  # type: ignore[operator]  # integers
            for before, now in zip(first, second, strict=True)
        )

    def test_every_event_is_valid_and_makes_business_sense(self) -> None:
        for made in islice(SyntheticCustomers(3, customers=20), 20 * 200):
            judgement = JUDGE.judge(encode({**made.fields, **TIME}))
            assert not judgement.reasons
            assert set(judgement.defaulted).isdisjoint(made.fields)
            fields = judgement.fields
            assert fields["phone_service"] or fields["internet_service"] != "No"
            assert fields["total_charges"] == fields["monthly_charges"] * fields["tenure"]  # type: ignore[operator]
