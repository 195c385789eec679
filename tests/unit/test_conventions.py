"""The conventions of the code, each with the remedy in its message."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from medallion_contracts.loader import dataset_names, load_dataset

ROOT = Path(__file__).parents[2]
CODE = ("expectations", "spark_jobs", "plugins", "dags", "docker")
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
LONGEST_MODULE = 450
COLUMN_OWNERS = (
    "expectations/medallion_contracts/customers/",
    "spark_jobs/medallion_spark/gold/customers.py",
    "plugins/medallion_ops/producer/",
)
"""Where customer columns may be spelled: contracts, the gold transforms, the producer's source mappings."""


def tracked(*patterns: str) -> list[Path]:
    """Files under version control, or about to be, that match."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for line in listing.stdout.splitlines() if (path := ROOT / line).exists()]


def modules() -> list[Path]:
    return tracked(*(f"{folder}/**.py" for folder in CODE))


def code_words(path: Path) -> str:
    """Names and texts of a module without its comments and docstrings."""
    tree = ast.parse(path.read_text())
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    words = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            words.append(node.value)
        elif isinstance(node, ast.Name | ast.Attribute):
            words.append(node.id if isinstance(node, ast.Name) else node.attr)
    return " ".join(words)


def test_there_are_modules_to_check() -> None:
    assert len(modules()) > 20


def test_module_names_say_their_subject() -> None:
    vague = [
        str(path.relative_to(ROOT)) for path in modules() if VAGUE_NAMES & set(path.with_suffix("").parts)
    ]
    assert not vague, f"rename these after what they are about, or move the code to its subject: {vague}"


def test_modules_stay_readable_at_one_sitting() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    long = {path: lines for path, lines in sizes.items() if lines > LONGEST_MODULE}
    assert not long, f"split these by subject, none may have over {LONGEST_MODULE} lines: {long}"


@pytest.mark.parametrize("name", dataset_names())
def test_customer_columns_are_spelled_by_their_owners_only(name: str) -> None:
    dataset = load_dataset(name)
    columns = set(dataset.events.column_names) - {dataset.key, "contract", "email"}  # words of their own
    word = re.compile(r"\b(" + "|".join(sorted(columns)) + r")\b")
    found: dict[str, list[str]] = {}
    for path in modules():
        relative = str(path.relative_to(ROOT))
        if relative.startswith((*COLUMN_OWNERS, "docker/")):
            continue
        hits = sorted(set(word.findall(code_words(path))))
        if hits:
            found[relative] = hits
    assert not found, (
        "streaming, gate, publish and DAGs are dataset-neutral: take columns from the contract "
        f"(dataset.key, dataset.event_time, table.columns) instead of spelling them: {found}"
    )


def test_no_file_holds_a_path_of_one_machine_or_an_unfinished_mark() -> None:
    marks = re.compile(r"/(?:root|home/\w+|work)/|\bTO" r"DO\b|\bFIX" r"ME\b|\bXX" r"X\b")
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path in tracked("*.py", "*.md", "*.yaml", "*.toml", "Makefile", "*.sql", "*.sh")
        if path.name != "test_conventions.py" and (match := marks.search(path.read_text()))
    }
    assert not found, f"finish these or take them out: {found}"


def test_entry_scripts_are_thin() -> None:
    scripts = tracked(":(glob)spark_jobs/*.py", ":(glob)dags/*.py")
    long = {path.name: count for path in scripts if (count := len(path.read_text().splitlines())) > 180}
    assert not long, f"move the work of these into medallion_spark or medallion_ops: {long}"
