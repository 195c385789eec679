"""Files of events are carried as they are: the contract judges them, not the producer."""

import json
from pathlib import Path

import pytest

from medallion_contracts.errors import SourceError
from medallion_contracts.loader import load_dataset
from medallion_ops.producer.event_files import CsvEvents, JsonLines
from medallion_ops.producer.records import LARGEST_RECORD

CUSTOMERS = load_dataset("customers")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events"


class TestCsv:
    def values(self, file: Path, text: str) -> list[dict[str, object]]:
        file.write_text(text, encoding="utf-8-sig")
        source = CsvEvents(file, CUSTOMERS)
        source.check()
        return [json.loads(planned.record.value or b"", parse_float=str) for planned in source]

    def test_cells_get_the_json_type_of_their_field(self, file: Path) -> None:
        (value,) = self.values(
            file,
            "customer_id,updated_at,tenure,partner,monthly_charges,first_name,nickname\n"
            "0001,2026-11-01T10:00:00Z,12,TRUE,29.850,Zoë,42\n",
        )
        assert value == {
            "customer_id": "0001",
            "updated_at": "2026-11-01T10:00:00Z",
            "tenure": 12,
            "partner": True,
            "monthly_charges": "29.850",  # the digits of the file
            "first_name": "Zoë",
            "nickname": "42",  # the contract does not know it: text
        }

    def test_a_cell_that_is_not_of_its_type_stays_text_for_the_contract_to_reject(self, file: Path) -> None:
        (value,) = self.values(
            file,
            'customer_id,updated_at,tenure,partner,monthly_charges\nA,yesterday,007,yes,"1,5"\n',
        )
        assert value["tenure"] == "007"
        assert value["partner"] == "yes"
        assert value["monthly_charges"] == "1,5"

    def test_a_blank_cell_is_a_missing_field_and_a_blank_key_no_key(self, file: Path) -> None:
        file.write_text("customer_id,updated_at,tenure\n,2026-11-01T10:00:00Z, \n")
        (planned,) = CsvEvents(file, CUSTOMERS)
        assert planned.record.key is None
        assert json.loads(planned.record.value or b"") == {"updated_at": "2026-11-01T10:00:00Z"}

    def test_required_columns_must_be_there(self, file: Path) -> None:
        file.write_text("customer_id;updated_at\nA;B\n")
        with pytest.raises(SourceError, match="no column customer_id, updated_at; it has "):
            CsvEvents(file, CUSTOMERS).check()


class TestJsonLines:
    def test_bytes_and_lines_are_kept_whatever_they_hold(self, file: Path) -> None:
        lines = [
            b'{"customer_id": "A",  "updated_at":"x"}',
            b'{"customer_id":"B"} trailing',
            b"\xff\xfe not text",
            b'{"customer_id":"\\ud800"}',
            b"[1, 2]",
            b'{"customer_id":7}',
            b"[" * 5_000,
            b" \x00 ",
        ]
        file.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines[:2]) + b"\n\n" + b"\n".join(lines[2:]))
        source = JsonLines(file, CUSTOMERS)
        assert source.check() == len(lines)
        planned = list(source)
        assert [each.record.value for each in planned] == lines
        assert [each.record.key for each in planned] == [b"A", *[None] * 7]
        assert [each.origin for each in planned[:3]] == ["line 1", "line 2", "line 4"]

    def test_what_kafka_would_refuse_is_named_with_its_line_before_anything_is_sent(self, file: Path) -> None:
        fits = b'{"a":"' + b"x" * (LARGEST_RECORD - 8) + b'"}'
        file.write_bytes(fits + b"\n" + fits + b" \n" + b"y" * 3 * LARGEST_RECORD + b"\n{}\n")
        with pytest.raises(SourceError) as error:
            JsonLines(file, CUSTOMERS).check()
        assert [problem.partition(":")[0] for problem in error.value.problems] == ["line 2", "line 3"]
        kept = [each.origin for each in JsonLines(file, CUSTOMERS).scan(lambda problem: None)]
        assert kept == ["line 1", "line 4"]

    def test_a_file_without_events_is_refused(self, file: Path) -> None:
        file.write_bytes(b"\n \n")
        with pytest.raises(SourceError, match="it holds no events"):
            JsonLines(file, CUSTOMERS).check()
