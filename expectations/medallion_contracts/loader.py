"""Reads the ODCS files of a dataset into the plain objects of `model`.

One folder a dataset, one file a table; `events.odcs.yaml` is the root. A table takes columns of another
with the schema-level custom property `columnsFrom` (module `columns_from`), so that a column is declared
once. Custom properties understood: `columnsFrom`, `replayTopic`, `eventTime` (schema level), `default`,
`enrichment` (column level).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from medallion_contracts.columns_from import ColumnsFrom, read_columns_from, version_problems
from medallion_contracts.errors import ContractError
from medallion_contracts.event_fields import event_problems
from medallion_contracts.judge import accepts_default
from medallion_contracts.model import (
    Column,
    ColumnType,
    Dataset,
    QualityRule,
    ServiceLevel,
    Severity,
    Table,
)

_SUFFIX = ".odcs.yaml"
_LOGICAL_TYPES = {
    "string": ColumnType.STRING,
    "integer": ColumnType.INTEGER,
    "number": ColumnType.DECIMAL,
    "boolean": ColumnType.BOOLEAN,
    "timestamp": ColumnType.TIMESTAMP,
    "date": ColumnType.DATE,
    "array": ColumnType.STRINGS,
}
_OPTIONS = {
    ColumnType.STRING: {"minLength", "maxLength"},
    ColumnType.INTEGER: {"minimum", "maximum", "format"},
    ColumnType.LONG: {"minimum", "maximum", "format"},
    ColumnType.DECIMAL: {"minimum", "maximum"},
    ColumnType.BOOLEAN: set(),
    ColumnType.TIMESTAMP: {"minimum", "timezone", "defaultTimezone"},
    ColumnType.DATE: set(),
    ColumnType.STRINGS: set(),
}
_DECIMAL = re.compile(r"(?:decimal|numeric)\(\s*(\d+)\s*,\s*(\d+)\s*\)", re.IGNORECASE)
_UNITS = {"s", "m", "h", "d", "y", "percent"}


def contract_folders() -> dict[str, Traversable]:
    """The folders of all datasets by name: those of this package that hold a contract."""
    package = resources.files("medallion_contracts")
    return {
        entry.name: entry
        for entry in sorted(package.iterdir(), key=lambda entry: entry.name)
        if entry.is_dir() and any(file.name.endswith(_SUFFIX) for file in entry.iterdir())
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
        entry.name.removeprefix("gold_").removesuffix(_SUFFIX)
        for entry in folder.iterdir()
        if entry.name.startswith("gold_") and entry.name.endswith(_SUFFIX)
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
        entry.name.removesuffix(_SUFFIX): entry.read_bytes()
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(_SUFFIX)
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
    reader = _DatasetReader(files, problems)
    tables = {stem: reader.table(stem) for stem in files}
    problems.extend(f"{wanted}{_SUFFIX}: missing" for wanted in ("events", "silver") if wanted not in files)
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


class _DatasetReader:
    """Parses the files of one dataset, following `columnsFrom`; problems go to one list."""

    def __init__(self, files: Mapping[str, bytes], problems: list[str]) -> None:
        self._files = files
        self._problems = problems
        self._contracts: dict[str, Any] = {}
        self._tables: dict[str, Table] = {}
        self._open: list[str] = []

    def schema(self, stem: str) -> Any:
        """The single schema object of a parsed file."""
        return self._contracts[stem].schema_[0]

    def schema_properties(self, stem: str) -> dict[str, Any]:
        """Schema-level custom properties by name."""
        return _custom(self.schema(stem))

    def table(self, stem: str) -> Table:
        """The table of one file; an empty one after a problem, so that the others are still checked."""
        if stem not in self._tables:
            self._open.append(stem)
            self._tables[stem] = self._read(stem)
            self._open.remove(stem)
        return self._tables[stem]

    def _read(self, stem: str) -> Table:
        empty = Table(stem, "", (), (), (), (), (), "")
        contract = self._parse(stem)
        if contract is None:
            return empty
        self._contracts[stem] = contract
        schema = contract.schema_[0]
        inherited, source, source_hash = self._inherited(stem, schema)
        columns = [*inherited, *(self._column(stem, item) for item in schema.properties or [])]
        names = [column.name for column in columns]
        self._problems.extend(
            f"{stem}: column {name!r} is declared twice" for name in sorted(names) if names.count(name) > 1
        )
        own_key = _ordered(schema.properties, "primaryKey", "primaryKeyPosition")
        rules = tuple(self._rules(stem, schema))
        return Table(
            name=stem.removeprefix("gold_"),
            description=schema.description or "",
            columns=tuple(columns),
            primary_key=own_key or self._inherited_key(source, names),
            partitioned_by=_ordered(schema.properties, "partitioned", "partitionKeyPosition"),
            rules=rules,
            service_levels=tuple(self._service_levels(stem, contract)),
            fingerprint=hashlib.sha256(self._files[stem] + source_hash).hexdigest(),
        )

    def _parse(self, stem: str) -> Any:
        import yaml
        from open_data_contract_standard.model import OpenDataContractStandard
        from pydantic import ValidationError

        try:
            contract = OpenDataContractStandard(**yaml.safe_load(self._files[stem]))
        except (yaml.YAMLError, TypeError) as error:
            self._problems.append(f"{stem}{_SUFFIX}: not a YAML mapping: {str(error).splitlines()[0]}")
            return None
        except ValidationError as error:
            self._problems.extend(
                f"{stem}{_SUFFIX}: {'.'.join(map(str, issue['loc']))}: {issue['msg']}"
                for issue in error.errors(include_input=False, include_url=False)
            )
            return None
        if len(contract.schema_ or []) != 1:
            self._problems.append(f"{stem}{_SUFFIX}: exactly one schema object is expected")
            return None
        return contract

    def _inherited(self, stem: str, schema: Any) -> tuple[list[Column], ColumnsFrom | None, bytes]:
        """Columns taken from another contract, how, and the hash of that one."""
        value = _custom(schema).get("columnsFrom")
        if value is None:
            return [], None, b""
        source, problems = read_columns_from(value, self._files)
        self._problems.extend(f"{stem}: {problem}" for problem in problems)
        if source is None:
            return [], None, b""
        if source.contract in self._open:
            self._problems.append(f"{stem}: columnsFrom goes round in a circle: {' > '.join(self._open)}")
            return [], None, b""
        table = self.table(source.contract)
        own = [item.name for item in schema.properties or []]
        self._problems.extend(f"{stem}: {problem}" for problem in source.problems(table, own))
        return source.taken(table), source, table.fingerprint.encode()

    def _inherited_key(self, source: ColumnsFrom | None, names: list[str]) -> tuple[str, ...]:
        if source is None or source.primary_key:
            return source.primary_key if source else ()
        key = tuple(source.rename.get(name, name) for name in self._tables[source.contract].primary_key)
        return key if set(key) <= set(names) else ()

    def _column(self, stem: str, item: Any) -> Column:
        where = f"{stem}.{item.name}"
        kind, precision, scale = self._type(where, item)
        options = item.logicalTypeOptions or {}
        self._problems.extend(
            f"{where}: logicalTypeOptions.{option} is not supported for {item.logicalType}"
            for option in sorted(set(options) - _OPTIONS[kind])
        )
        unknown = sorted(set(_custom(item)) - {"default", "enrichment"})
        self._problems.extend(f"{where}: custom property {name!r} is not known" for name in unknown)
        earliest = options.get("minimum") if kind is ColumnType.TIMESTAMP else None
        bounds = options if kind is not ColumnType.TIMESTAMP else {}
        column = Column(
            name=item.name,
            type=kind,
            description=item.description or "",
            required=bool(item.required),
            precision=precision,
            scale=scale,
            enum=tuple(str(entry.value) for entry in item.enum or []),
            minimum=self._number(where, bounds.get("minimum")),
            maximum=self._number(where, bounds.get("maximum")),
            earliest=self._moment(where, earliest),
            max_length=options.get("maxLength"),
            default=self._default(where, kind, _custom(item).get("default")),
            transform=item.transformLogic,
            classification=item.classification,
            is_label=_custom(item).get("enrichment") is True,
        )
        if not column.description:
            self._problems.append(f"{where}: a description is needed")
        if column.enum and column.default is not None and column.default not in column.enum:
            self._problems.append(f"{where}: the default {column.default!r} is not in the enum")
        return column

    def _type(self, where: str, item: Any) -> tuple[ColumnType, int | None, int | None]:
        kind = _LOGICAL_TYPES.get(item.logicalType or "")
        if kind is None:
            self._problems.append(
                f"{where}: logicalType {item.logicalType!r} is not one of {', '.join(_LOGICAL_TYPES)}"
            )
            return ColumnType.STRING, None, None
        if kind is ColumnType.INTEGER and (item.logicalTypeOptions or {}).get("format") == "i64":
            kind = ColumnType.LONG
        if kind is not ColumnType.DECIMAL:
            return kind, None, None
        match = _DECIMAL.fullmatch(item.physicalType or "")
        if match is None:
            self._problems.append(f"{where}: a number needs physicalType decimal(precision,scale)")
            return kind, None, None
        return kind, int(match[1]), int(match[2])

    def _number(self, where: str, value: object) -> Decimal | None:
        if value is None:
            return None
        try:
            return Decimal(str(value))
        except InvalidOperation:
            self._problems.append(f"{where}: {value!r} is not a number")
            return None

    def _moment(self, where: str, value: object) -> datetime | None:
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self._problems.append(f"{where}: {value!r} is not an ISO 8601 timestamp")
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    def _default(self, where: str, kind: ColumnType, value: object) -> str | int | bool | Decimal | None:
        if value is None:
            return None
        if kind is ColumnType.DECIMAL:
            return self._number(where, value)
        fits = {
            ColumnType.STRING: str,
            ColumnType.INTEGER: int,
            ColumnType.LONG: int,
            ColumnType.BOOLEAN: bool,
        }
        if isinstance(value, str | int | bool) and type(value) is fits.get(kind):
            return value
        self._problems.append(f"{where}: the default {value!r} is not a {kind.value}")
        return None

    def _rules(self, stem: str, schema: Any) -> Iterable[QualityRule]:
        for entry in schema.quality or []:
            yield from self._rule(stem, entry, {})
        for item in schema.properties or []:
            for entry in item.quality or []:
                yield from self._rule(f"{stem}.{item.name}", entry, {"column": item.name})

    def _rule(self, where: str, entry: Any, column: dict[str, object]) -> Iterable[QualityRule]:
        severity = entry.severity or Severity.CRITICAL.value
        if not entry.name or not entry.description:
            self._problems.append(f"{where}: each quality rule needs a name and a description")
        elif severity not in set(Severity):
            self._problems.append(f"{where}: {entry.name}: severity must be critical or warning")
        else:
            call = _expectation(entry, column)
            if call is None:
                self._problems.append(
                    f"{where}: {entry.name}: give a library metric (nullValues, duplicateValues, rowCount) "
                    "or type: custom, engine: greatExpectations, "
                    "implementation: {type: expect_..., kwargs: {...}}"
                )
                return
            expectation, arguments = call
            yield QualityRule(
                name=entry.name,
                description=entry.description,
                severity=Severity(severity),
                expectation=expectation,
                arguments=arguments,
            )

    def _service_levels(self, stem: str, contract: Any) -> Iterable[ServiceLevel]:
        for entry in contract.slaProperties or []:
            if entry.unit not in _UNITS or not isinstance(entry.value, int | float):
                self._problems.append(
                    f"{stem}: slaProperties {entry.property}: needs a number and a unit of {sorted(_UNITS)}"
                )
                continue
            yield ServiceLevel(
                str(entry.property), float(entry.value), entry.unit, entry.element, entry.schedule
            )


def _custom(element: Any) -> dict[str, Any]:
    return {entry.property: entry.value for entry in element.customProperties or []}


def _ordered(items: Iterable[Any] | None, flag: str, position: str) -> tuple[str, ...]:
    chosen = [item for item in items or [] if getattr(item, flag)]
    return tuple(item.name for item in sorted(chosen, key=lambda item: getattr(item, position) or 0))


def _expectation(entry: Any, column: dict[str, object]) -> tuple[str, dict[str, object]] | None:
    """The Great Expectations call of one quality entry, or None when it is of no known form."""
    if (
        entry.type == "custom"
        and entry.engine == "greatExpectations"
        and isinstance(entry.implementation, dict)
    ):
        kind, kwargs = entry.implementation.get("type"), entry.implementation.get("kwargs", {})
        if isinstance(kind, str) and isinstance(kwargs, dict):
            return kind, {**column, **kwargs}
        return None
    if entry.metric == "nullValues" and entry.mustBe == 0 and column:
        return "expect_column_values_to_not_be_null", column
    if entry.metric == "duplicateValues" and entry.mustBe == 0:
        wanted = (entry.arguments or {}).get("properties")
        if wanted:
            return "expect_compound_columns_to_be_unique", {"column_list": list(wanted)}
        return ("expect_column_values_to_be_unique", column) if column else None
    if entry.metric == "rowCount" and entry.mustBeGreaterThan is not None:
        return "expect_table_row_count_to_be_between", {"min_value": int(entry.mustBeGreaterThan) + 1}
    return None
