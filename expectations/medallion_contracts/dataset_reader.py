"""Parses the ODCS files of one dataset into tables: columns, keys, quality rules and service levels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from medallion_contracts.column_reader import ColumnReader, custom_properties
from medallion_contracts.columns_from import ColumnsFrom, read_columns_from
from medallion_contracts.model import Column, QualityRule, ServiceLevel, Severity, Table

SUFFIX = ".odcs.yaml"
"""How the name of a contract file ends."""
_UNITS = {"s", "m", "h", "d", "y", "percent"}


class DatasetReader:
    """Parses the files of one dataset, following `columnsFrom`; problems go to one list."""

    def __init__(self, files: Mapping[str, bytes], problems: list[str]) -> None:
        self._files = files
        self._problems = problems
        self._column_reader = ColumnReader(problems)
        self._contracts: dict[str, Any] = {}
        self._tables: dict[str, Table] = {}
        self._open: list[str] = []

    def schema(self, stem: str) -> Any:
        """The single schema object of a parsed file."""
        return self._contracts[stem].schema_[0]

    def schema_properties(self, stem: str) -> dict[str, Any]:
        """Schema-level custom properties by name."""
        return custom_properties(self.schema(stem))

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
        columns = [*inherited, *self._own_columns(stem, schema)]
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
            self._problems.append(f"{stem}{SUFFIX}: not a YAML mapping: {str(error).splitlines()[0]}")
            return None
        except ValidationError as error:
            self._problems.extend(
                f"{stem}{SUFFIX}: {'.'.join(map(str, issue['loc']))}: {issue['msg']}"
                for issue in error.errors(include_input=False, include_url=False)
            )
            return None
        if len(contract.schema_ or []) != 1:
            self._problems.append(f"{stem}{SUFFIX}: exactly one schema object is expected")
            return None
        return contract

    def _own_columns(self, stem: str, schema: Any) -> Iterable[Column]:
        return (self._column_reader.column(f"{stem}.{item.name}", item) for item in schema.properties or [])

    def _inherited(self, stem: str, schema: Any) -> tuple[list[Column], ColumnsFrom | None, bytes]:
        """Columns taken from another contract, how, and the hash of that one."""
        value = custom_properties(schema).get("columnsFrom")
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
