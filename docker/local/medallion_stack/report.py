"""The report at the end of the demo: what was sent, what was found, and whether the two agree."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medallion_stack.demo import Outcome
from medallion_stack.layout import TELCO
from medallion_stack.observe import GoldView, LakeView, keys_of_table
from medallion_stack.stack import Stack
from medallion_stack.state import write_private
from medallion_stack.status import stack_memory

_SAMPLES = {
    "customers": (("customers_masked", "customer_id", 5), ("segment_current", "customers DESC", 10)),
    "subscriptions": (
        ("customer_subscription_features", "customer_id", 5),
        ("service_daily", "day DESC, updates DESC", 10),
    ),
}
"""Views and tables to show of a dataset, by which order, and how many rows."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold."""

    what: str
    expected: object
    found: object

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return self.expected == self.found


@dataclass(frozen=True)
class Report:
    """The finished report."""

    text: str
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every check does."""
        return all(check.holds for check in self.checks)

    def keep(self, folder: Path) -> Path:
        """Write the text, and beside it the checks as JSON; returns the text's path."""
        path = folder / f"demo-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.txt"
        write_private(path, self.text + "\n")
        checks = [{**vars(check), "holds": check.holds} for check in self.checks]
        write_private(path.with_suffix(".json"), json.dumps(checks, indent=1, default=str) + "\n")
        return path


def make_report(stack: Stack, *outcomes: Outcome) -> Report:
    """Read every layer back and compare it with what was sent."""
    sections: list[list[str]] = []
    checks: list[Check] = []
    for outcome in outcomes:
        settings, dataset = stack.airflow.settings, outcome.dataset
        lake, gold = LakeView(settings["MEDALLION_LAKE_URI"], dataset), GoldView(settings, dataset)
        gate = gold.gate()
        held = tuple(_checks(outcome, lake, gold, gate))
        checks.extend(held)
        sections += [[f"== {dataset} =="], _layers(lake, gold), _checked(held), _gate_lines(gate)]
        sections += _samples(gold, dataset)
    sections.append(_where(stack, outcomes))
    return Report("\n\n".join("\n".join(lines) for lines in sections), tuple(checks))


def _checks(
    outcome: Outcome, lake: LakeView, gold: GoldView, gate: Sequence[Mapping[str, Any]]
) -> Iterator[Check]:
    sent, found = outcome.sent, outcome.found
    yield Check("records acknowledged by the broker", sent["sent"], sent["acked"])
    yield Check("records with a verdict", sent["acked"], found.records)
    yield Check("accepted to silver", sent["events"], found.by_verdict["silver"])
    yield Check("duplicates found", sent["duplicated"], found.by_verdict["duplicate"])
    yield Check("late events found", sent["late"], found.by_verdict["late"])
    yield Check("broken events found", sum(sent["broken"].values()), found.by_verdict["rejected"])
    for reason in sorted(sent["broken"].keys() | found.by_reason.keys()):
        yield Check(f"  reason {reason}", sent["broken"].get(reason, 0), found.by_reason[reason])
    balance = lake.balance()
    yield Check("micro-batches whose balance is open", (), balance.open_batches)
    yield Check("records in the ledger", lake.records(), balance.read)
    yield Check("end of the gold run", "success", outcome.gold_state)
    newest, published = lake.silver_version(), gold.published_version()
    yield Check("all of silver is published", True, published is not None and published >= newest)
    yield Check("gate ran", True, bool(gate))
    failed = sorted(
        f"{one['table_name']}.{one['expectation']}"
        for one in gate
        if one["severity"] == "critical" and not one["success"]
    )
    yield Check("critical expectations that failed", [], failed)
    keys = keys_of_table(outcome.dataset, TELCO)
    yield Check(f"{outcome.dataset} of the CSV in gold", len(keys), gold.entities_present(keys))


def _layers(lake: LakeView, gold: GoldView) -> list[str]:
    rows = [(layer, count) for layer, count in lake.rows().items()]
    rows += [(f"gold.{name}", count) for name, count in gold.rows().items()]
    return ["ROWS PER LAYER", *table(("layer", "rows"), [(name, f"{count:,}") for name, count in rows])]


def _checked(checks: Iterable[Check]) -> list[str]:
    rows = [(check.what, check.expected, check.found, "yes" if check.holds else "NO") for check in checks]
    return ["SENT AND FOUND", *table(("what", "expected", "found", "equal"), rows)]


def _gate_lines(gate: Sequence[Mapping[str, Any]]) -> list[str]:
    counts: dict[str, list[int]] = {}
    for one in gate:
        passed_and_all = counts.setdefault(str(one["severity"]), [0, 0])
        passed_and_all[0] += bool(one["success"])
        passed_and_all[1] += 1
    lines = [
        f"  {severity}: {passed} of {total} hold" for severity, (passed, total) in sorted(counts.items())
    ]
    warned = [one for one in gate if not one["success"]]
    lines += [f"  {one['severity']}: {one['table_name']}: {one['description']}" for one in warned]
    return ["GATE (expectations on the candidates of gold)", *(lines or ["  it did not run"])]


def _samples(gold: GoldView, dataset: str) -> Iterator[list[str]]:
    for name, order, rows in _SAMPLES.get(dataset, ()):
        yield [f"GOLD, {rows} ROWS OF {name}", *_rows_as_table(gold.sample(name, order, rows))]


def _where(stack: Stack, outcomes: Sequence[Outcome]) -> list[str]:
    settings = stack.airflow.settings
    return [
        "WHERE TO GO ON",
        f"  Airflow    {stack.airflow.url}  user {settings['MEDALLION_AIRFLOW_USER']}, "
        f"password {settings['MEDALLION_AIRFLOW_PASSWORD']}",
        f"  Spark      {stack.spark.web_url}",
        f"  mails      {stack.mail.folder}",
        f"  Data Docs  {settings['MEDALLION_DATA_DOCS_DIR']}",
        f"  settings   {stack.state.settings_file}  (addresses and logins of everything)",
        "  gold       docker/local/psql  (SQL as the writer; MEDALLION_READER_DSN sees no personal data)",
        "  next       docker/local/airflow dags trigger customers_gold; make status; make logs; make down",
        f"  memory     {stack_memory(stack.state) / 2**30:.2f} GiB (PSS), the whole stack with its stream",
        *(
            f"  time       {outcome.seconds:.0f} s from the first event of {outcome.dataset} to its gold"
            for outcome in outcomes
        ),
    ]


def _rows_as_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return table(tuple(rows[0]), [tuple(row.values()) for row in rows]) if rows else ["  no rows"]


def table(header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> list[str]:
    """Lines of a text table, columns aligned."""
    cells = [header, *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in cells
    ]
    return [
        line.rstrip() for line in (lines[0], "  " + "  ".join("-" * width for width in widths), *lines[1:])
    ]


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "-" if value is None else str(value)
