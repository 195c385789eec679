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
LONGEST_MODULE = 300
LONGER_MODULES = {
    "spark_jobs/medallion_spark/lake/tables.py": 312,
    "spark_jobs/medallion_spark/stream/ledger.py": 332,
    "spark_jobs/medallion_spark/stream/ledger_completion.py": 308,
    "spark_jobs/medallion_spark/stream/query.py": 444,
}
"""Those not yet split, with the lines they have: none may grow, and no other comes to this list."""
OWNERS = (
    *(f"expectations/medallion_contracts/{name}/" for name in dataset_names()),
    *(f"spark_jobs/medallion_spark/gold/{name}.py" for name in dataset_names()),
    "plugins/medallion_ops/producer/",
    "docker/",
)
"""Where a dataset's columns may be spelled: its contracts, its gold, the producer's sources, the demo."""
NAMERS = tuple(owner for owner in OWNERS if owner != "plugins/medallion_ops/producer/") + tuple(
    f"plugins/medallion_ops/producer/mappings/{name}.py" for name in dataset_names()
)
"""Where a dataset may be named."""
HOW_MANY_CUSTOMERS = {"dags/producer.py", "plugins/medallion_ops/producer/cli.py"}
"""Where `customers` is no dataset, but how many of them are made up."""
ORDINARY_WORDS = {"contract", "email", "service", "is_active", "changed_at"}


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
    long = {path: lines for path, lines in sizes.items() if lines > LONGER_MODULES.get(path, LONGEST_MODULE)}
    assert not long, f"split these by subject, none may have over {LONGEST_MODULE} lines: {long}"
    split = [path for path in LONGER_MODULES if sizes.get(path, 0) <= LONGEST_MODULE]
    assert not split, f"take these off LONGER_MODULES, they are within the limit: {split}"


@pytest.mark.parametrize("name", dataset_names())
def test_columns_of_a_dataset_are_spelled_by_their_owners_only(name: str) -> None:
    dataset = load_dataset(name)
    columns = set(dataset.events.column_names) - {dataset.key} - ORDINARY_WORDS
    word = re.compile(r"\b(" + "|".join(sorted(columns)) + r")\b")
    found: dict[str, list[str]] = {}
    for path in modules():
        relative = str(path.relative_to(ROOT))
        if relative.startswith(OWNERS):
            continue
        hits = sorted(set(word.findall(code_words(path))))
        if hits:
            found[relative] = hits
    assert not found, (
        "streaming, gate, publish and DAGs are dataset-neutral: take columns from the contract "
        f"(dataset.key, dataset.event_time, table.columns) instead of spelling them: {found}"
    )


def test_a_dataset_is_named_by_its_owners_only() -> None:
    names = re.compile(rf"({'|'.join(dataset_names())})(_(stream|replay|gold|streaming|producer|rebuild))?")
    found: dict[str, list[str]] = {}
    for path in modules():
        relative = str(path.relative_to(ROOT))
        constants = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        hits = {str(node.value) for node in constants if names.fullmatch(str(node.value))}
        if relative in HOW_MANY_CUSTOMERS:
            hits -= {"customers"}
        if hits and not relative.startswith(NAMERS):
            found[relative] = sorted(hits)
    assert not found, (
        "take the dataset as an argument, or go through datasets_that_run(): another one costs a folder of "
        f"contracts, a module in gold/ and a mapping of the producer, nothing else: {found}"
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
