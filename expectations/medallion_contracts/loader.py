"""Reads the ODCS files of a dataset into the plain objects of `model`.

One folder a dataset, one file a table; `events.odcs.yaml` is the root. A table takes columns of another
with the schema-level custom property `columnsFrom` (module `columns_from`), so that a column is declared
once. Custom properties understood: `columnsFrom`, `replayTopic`, `eventTime` (schema level), `default`,
`enrichment` (column level).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from medallion_contracts.columns_from import version_problems
from medallion_contracts.dataset_reader import SUFFIX, DatasetReader
from medallion_contracts.errors import ContractError
from medallion_contracts.event_fields import event_problems
from medallion_contracts.field_parsers import accepts_default
from medallion_contracts.model import Dataset


def contract_folders() -> dict[str, Traversable]:
    """The folders of all datasets by name: those of this package that hold a contract."""
    package = resources.files("medallion_contracts")
    return {
        entry.name: entry
        for entry in sorted(package.iterdir(), key=lambda entry: entry.name)
        if entry.is_dir() and any(file.name.endswith(SUFFIX) for file in entry.iterdir())
    }


def dataset_names() -> tuple[str, ...]:
    """Names of all datasets, those among them whose contracts are not valid."""
    return tuple(contract_folders())


@cache
def load_dataset(name: str) -> Dataset:
    """All contracts of a dataset.

    Raises:
        ContractError: no such dataset, or its files are not valid; lists every problem found.
    """
    folders = contract_folders()
    if name not in folders:
        raise ContractError(
            f"there is no dataset {name!r}", [f"datasets with contracts are: {', '.join(folders)}"]
        )
    problems = list(claimed_twice(folders, name))
    if problems:
        raise ContractError(f"contracts of {name!r} are not valid", problems)
    return load_folder(folders[name], name)


def claimed_twice(folders: Mapping[str, Traversable], name: str) -> Iterator[str]:
    """The gold tables and views of a dataset that another one declares too: each has one owner.

    Args:
        folders: of all datasets, by name.
        name: the dataset.
    """
    mine = _claims(folders[name])
    for other, folder in sorted(folders.items()):
        if other != name:
            for relation in sorted(mine & _claims(folder)):
                yield f"gold.{relation} is declared by {name} and by {other}: rename one of them"


def _claims(folder: Traversable) -> set[str]:
    tables = {
        entry.name.removeprefix("gold_").removesuffix(SUFFIX)
        for entry in folder.iterdir()
        if entry.name.startswith("gold_") and entry.name.endswith(SUFFIX)
    }
    views = folder.joinpath("gold_views")
    named = {entry.name.removesuffix(".sql") for entry in views.iterdir()} if views.is_dir() else set()
    return tables | named


def contract_files(name: str) -> dict[str, bytes]:
    """The contract files of a dataset as they are, by name without their ending."""
    return files_in(contract_folders()[name])


def files_in(folder: Traversable) -> dict[str, bytes]:
    """The contract files in a folder, by name without their ending."""
    return {
        entry.name.removesuffix(SUFFIX): entry.read_bytes()
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(SUFFIX)
    }


def load_folder(folder: Traversable, name: str) -> Dataset:
    """All contracts of the dataset whose `*.odcs.yaml` files lie in `folder`; see `load_files`."""
    return load_files(files_in(folder), name)


def load_files(files: Mapping[str, bytes], name: str) -> Dataset:
    """All contracts of a dataset.

    Args:
        files: their content, by name without its ending.
        name: of the dataset.

    Raises:
        ContractError: lists every problem of every file.
    """
    problems: list[str] = []
    reader = DatasetReader(files, problems)
    tables = {stem: reader.table(stem) for stem in files}
    problems.extend(f"{wanted}{SUFFIX}: missing" for wanted in ("events", "silver") if wanted not in files)
    if problems:
        raise ContractError(f"contracts of {name!r} are not valid", problems)
    events = tables["events"]
    properties = reader.schema_properties("events")
    event_time = properties.get("eventTime")
    topic = reader.schema("events").physicalName
    if event_time not in events.primary_key or len(events.primary_key) != 2:
        problems.append("events: the primary key must be the entity's key and the column named by eventTime")
    problems.extend(event_problems(events))
    problems.extend(
        f"events.{column.name}: the default {column.default!r} is not allowed by the column itself"
        for column in events.columns
        if column.default is not None and not column.enum and not accepts_default(column)
    )
    if not topic or "replayTopic" not in properties:
        problems.append("events: physicalName (the topic) and the custom property replayTopic are needed")
    if problems:
        raise ContractError(f"contracts of {name!r} are not valid", problems)
    dataset = Dataset(
        name=name,
        events=events,
        silver=tables["silver"],
        gold={
            stem.removeprefix("gold_"): table
            for stem, table in sorted(tables.items())
            if stem.startswith("gold_")
        },
        key=next(column for column in events.primary_key if column != event_time),
        event_time=str(event_time),
        topic=str(topic),
        replay_topic=str(properties["replayTopic"]),
        files=dict(files),
    )
    problems.extend(version_problems(dataset))
    if problems:
        raise ContractError(f"contracts of {name!r} are not valid", problems)
    return dataset
