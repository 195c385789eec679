"""The data dictionary: every table and column of a dataset as Markdown, made from the contracts.

`make docs` writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from medallion_contracts.model import Column, ColumnType, Dataset, Table


def markdown(dataset: Dataset) -> str:
    """The dictionary of one dataset: a section a table, a row a column, and its rules and service levels."""
    lines = [f"# Data dictionary: {dataset.name}", ""]
    lines += ["Made from the contracts by `make docs`; change the contracts, not this page.", ""]
    lines += [f"Kafka topics: `{dataset.topic}`, `{dataset.replay_topic}`.", ""]
    lines += _section(f"events (topic `{dataset.topic}`)", dataset.events)
    lines += _section(f"silver (Delta `silver/{dataset.name}`)", dataset.silver)
    for name, table in dataset.gold.items():
        lines += _section(f"gold.{name} (Postgres)", table)
    return "\n".join(lines).rstrip() + "\n"


def _section(title: str, table: Table) -> Iterator[str]:
    yield from (f"## {title}", "", table.description, "")
    yield from (f"Key: {', '.join(f'`{name}`' for name in table.primary_key)}.", "")
    if table.partitioned_by:
        yield from (f"Partitioned by {', '.join(f'`{name}`' for name in table.partitioned_by)}.", "")
    yield from ("| column | type | required | allowed | when absent | class | meaning |", "|---" * 7 + "|")
    yield from (_row(column) for column in table.columns)
    yield ""
    if table.rules:
        yield from ("| rule of the gate | severity | meaning |", "|---|---|---|")
        yield from (
            f"| `{rule.name}` | {rule.severity} | {_cell(rule.description)} |" for rule in table.rules
        )
        yield ""
    for level in table.service_levels:
        yield f"- {level.name}: {level.value:g} {level.unit}"
    if table.service_levels:
        yield ""


def _row(column: Column) -> str:
    cells = (
        f"`{column.name}`",
        _type(column),
        "yes" if column.required else "no",
        _allowed(column),
        _when_absent(column),
        column.classification or "",
        column.description,
    )
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _type(column: Column) -> str:
    if column.type is ColumnType.DECIMAL:
        return f"decimal({column.precision},{column.scale})"
    return {ColumnType.TIMESTAMP: "timestamp (UTC)", ColumnType.STRINGS: "list of strings"}.get(
        column.type, column.type.value
    )


def _allowed(column: Column) -> str:
    limits = [
        f"at least {column.minimum}" if column.minimum is not None else "",
        f"at most {column.maximum}" if column.maximum is not None else "",
        f"not before {column.earliest:%Y-%m-%d}" if column.earliest else "",
        f"up to {column.max_length} characters" if column.max_length else "",
        ", ".join(column.enum),
    ]
    return ", ".join(limit for limit in limits if limit)


def _when_absent(column: Column) -> str:
    if column.default is not None:
        return f"`{column.default}`"
    return f"`{column.transform}`" if column.transform and not column.required else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
