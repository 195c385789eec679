"""The README's section "Adding a column", step by step; the end-to-end tests run `make roll-out` itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kafka_log import event
from medallion_contracts.compile.docs import markdown
from medallion_contracts.compile.great_expectations import compile_suite
from medallion_contracts.judge import EventJudge
from medallion_contracts.loader import load_folder
from medallion_ops.plan import main
from new_fields import as_value, write_contracts

README = (Path(__file__).parents[3] / "README.md").read_text()
SECTION = README.partition("## Adding a column")[2].partition("\n## ")[0]

NAME = "area_of_test"


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The contracts with the README's entry at the end of the event's fields, as text."""
    [entry] = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    entry = entry.replace("region", NAME)  # someone may have added the README's own by now
    folder = write_contracts(tmp_path / "changed", [])
    file = folder / "events.odcs.yaml"
    file.write_text(file.read_text().replace("slaProperties:", f"{entry}slaProperties:", 1))
    return folder


def test_the_entry_is_all_that_a_new_column_takes(changed: Path) -> None:
    dataset = load_folder(changed, "customers")
    for table in (dataset.silver, dataset.gold["customers"], dataset.gold["customer_history"]):
        assert table.column(NAME).required
    page = markdown(dataset)
    assert page.count(f"| `{NAME}` |") == 4
    assert {f"{NAME}_present", f"{NAME}_fits"} <= {
        check.name for check in compile_suite(dataset)["customers"]
    }
    judgement = EventJudge(dataset.events).judge(as_value(event()))
    assert (judgement.fields[NAME], judgement.defaulted) == ("unknown", (NAME,))


def test_make_plan_says_that_it_breaks_no_one_and_that_taking_it_away_does(
    changed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    today = write_contracts(tmp_path / "today", [])
    assert main(["--dataset=customers", f"--old={today}", f"--new={changed}"]) == 0
    assert "rebuilt: all of gold, once" in capsys.readouterr().out
    assert main(["--dataset=customers", f"--old={changed}", f"--new={today}"]) == 1
    assert f"gold.customers.{NAME} removed" in capsys.readouterr().out


def test_the_commands_it_names_are_there() -> None:
    makefile = (Path(__file__).parents[3] / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)", SECTION)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
