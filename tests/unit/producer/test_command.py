"""The command's dry run and its errors; what needs a broker is tested with one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medallion_contracts.judge import EventJudge
from medallion_contracts.loader import load_dataset
from medallion_ops.producer.cli import main
from medallion_ops.producer.dry_run import judge
from medallion_ops.producer.records import Planned, Record

CUSTOMERS = load_dataset("customers")
ROOT = Path(__file__).parents[3]
GOOD = '{"customer_id":"A","updated_at":"2026-11-01T10:00:00Z","total_charges":1}'


def run(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MEDALLION_"):
            monkeypatch.delenv(name)


def test_a_dry_run_says_what_would_be_rejected_why_and_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(
        "\n".join([GOOD, "not json", GOOD.replace("1}", '1,"tenure":"x","partner":1}'), *["{}"] * 7])
    )
    code, out, _ = run("--source", "jsonl", "--file", file, "--dry-run", capsys=capsys)
    assert code == 3
    assert "10 records, 9 would be rejected" in out
    assert "malformed: 1 (line 2)" in out
    assert "missing:customer_id: 7 (line 4, line 5, line 6, line 7, line 8, ...)" in out
    summary = json.loads(out.splitlines()[-1])
    assert summary["reasons"]["type:tenure"] == {"records": 1, "first": ["line 3"]}
    assert summary["reasons"]["type:partner"] == {"records": 1, "first": ["line 3"]}


def test_a_dry_run_of_good_events_succeeds_and_tells_of_defaults_and_unknown_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(GOOD.replace("1}", '1,"nickname":"x"}'))
    code, out, _ = run("--source", "jsonl", "--file", file, "--dry-run", capsys=capsys)
    assert code == 0
    summary = json.loads(out.splitlines()[-1])
    assert summary["unknown"] == {"nickname": 1}
    assert summary["defaulted"]["email"] == 1


def test_the_dry_run_follows_the_setting_that_rejects_unknown_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_REJECT_UNKNOWN_FIELDS", "true")
    file = tmp_path / "events.jsonl"
    file.write_text(GOOD.replace("1}", '1,"nickname":"x"}'))
    code, out, _ = run("--source", "jsonl", "--file", file, "--dry-run", capsys=capsys)
    assert code == 3
    assert "unknown:nickname: 1" in out


@given(st.lists(st.one_of(st.none(), st.binary(max_size=60), st.sampled_from([GOOD.encode(), b"{}"]))))
def test_the_dry_run_counts_exactly_the_judge_s_reasons(values: list[bytes | None]) -> None:
    event_judge = EventJudge(CUSTOMERS.events)
    expected = [event_judge.judge(value).reasons for value in values]
    planned = [Planned(Record(None, value), "event", f"line {n}") for n, value in enumerate(values)]
    verdicts = judge(planned, CUSTOMERS, reject_unknown=False)
    assert verdicts.records == len(values)
    assert verdicts.rejected == sum(map(bool, expected))
    assert sorted(verdicts.reasons.elements()) == sorted(reason for each in expected for reason in each)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "csv"], "file: the source csv needs one"),
        (["--source", "csv", "--file", "/nowhere.csv"], "nowhere.csv cannot be read"),
        (["--source", "synthetic", "--dry-run"], "a dry run must have an end"),
        (["--source", "synthetic", "--count", "1"], "MEDALLION_KAFKA_BOOTSTRAP is not set"),
    ],
)
def test_a_mistake_is_one_clear_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(*arguments, *(["--dry-run"] if "--file" in arguments else []), capsys=capsys)
    assert code == 1
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["--source", "xml"], ["--count", "many"], []])
def test_a_command_line_that_cannot_be_understood_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


@pytest.mark.parametrize(
    ("option", "value", "accepted"),
    [
        ("--as-of", "yesterday", "2026-03-01T12:00:00Z"),
        ("--broken", "few", "a fraction of the events (0.01)"),
    ],
)
def test_a_value_that_cannot_be_read_says_what_is_accepted(
    option: str, value: str, accepted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--source", "telco", option, value])
    assert f"argument {option}: must be " in (said := capsys.readouterr().err)
    assert accepted in said


def test_help_is_complete_and_loads_neither_kafka_nor_faker() -> None:
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("expectations", "plugins"))
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "medallion_ops.producer", "--help"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    for word in ("--source", "--broken", "--as-of", "exit codes", "MEDALLION_KAFKA_BOOTSTRAP"):
        assert word in done.stdout
    for heavy in ("kafka", "faker"):
        assert f"| {heavy}\n" not in done.stderr.replace("  ", "")
