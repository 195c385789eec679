"""The README and what it speaks of agree."""

import re
from pathlib import Path

from medallion_contracts.loader import dataset_names
from medallion_ops.settings import settings_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_settings_table_is_the_one_the_settings_module_makes() -> None:
    inside = README.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0].strip()
    assert inside == settings_table(), "settings changed: run `make docs` and commit README.md"


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert named <= targets, f"correct the README or the Makefile: {sorted(named - targets)}"
    assert {"demo", "test"} <= named


def test_every_file_it_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing, f"correct these links: {missing}"
    assert links


def test_its_table_of_dags_is_the_dags_folder() -> None:
    named = set(
        re.findall(
            r"^\| `(?:<dataset>_)?(\w+)` \| (?:by hand|always|hourly|daily|every)", README, re.MULTILINE
        )
    )
    present = {path.stem for path in (ROOT / "dags").glob("*.py")}
    assert named == present, "the README's table of DAGs and dags/ differ"


def test_every_setting_it_names_exists() -> None:
    from medallion_ops.settings import declarations, overridable

    known = {declaration.name for _, declaration in declarations()}
    known |= {one.name_for(name) for one in overridable().values() for name in dataset_names()}
    known |= {"MEDALLION_STATE"}  # read by the local stack alone
    named = set(re.findall(r"MEDALLION_[A-Z_]+[A-Z]", README.replace("MEDALLION_*", "")))
    stack = {
        name
        for name in named
        if name.startswith(("MEDALLION_AIRFLOW_", "MEDALLION_READER_", "MEDALLION_PII_"))
    }
    assert named - stack <= known, f"correct the README: {sorted(named - known)}"


def test_adding_a_dataset_names_the_files_that_the_test_of_another_one_writes() -> None:
    section = README.split("### Adding a dataset")[1].split("\n## ")[0]
    source = (ROOT / "tests/spark/gold/test_third_dataset.py").read_text()
    for name in ("events.odcs.yaml", "silver.odcs.yaml", "orders.py"):
        assert name in section, f"{name}: the README does not name it"
        assert f'"{name}"' in source, f"{name}: no test writes it"
    assert "gold_<table>.odcs.yaml" in section
    assert '"gold_orders.odcs.yaml"' in source
