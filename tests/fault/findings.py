"""The table of a fault run: what was done, what came of it."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fault.checker import Report

REPORTS = Path(__file__).parents[2] / "build" / "reports"


@dataclass(frozen=True)
class Row:
    """One fault; `seconds` from the fault to the next committed micro-batch."""

    fault: str
    records: int
    lost: int
    duplicated: int
    findings: int
    seconds: float | None


@dataclass
class FaultTable:
    """Gathers the rows of a run."""

    rows: list[Row] = field(default_factory=list)

    def add(self, fault: str, report: Report, seconds: float | None) -> None:
        """Note a fault that was read back."""
        found = len(report.findings)
        self.rows.append(Row(fault, report.records, report.lost, report.duplicated, found, seconds))

    def markdown(self) -> str:
        """The table as people read it."""
        lines = [
            "| fault | records | lost | duplicated | other findings | seconds to recover |",
            "|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            seconds = "-" if row.seconds is None else f"{row.seconds:.0f}"
            cells = (row.fault, row.records, row.lost, row.duplicated, row.findings, seconds)
            lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
        return "\n".join(lines)

    def write(self, name: str) -> None:
        """Print the table and keep it, dated, in build/reports."""
        now = datetime.now(UTC)
        machine = f"{os.cpu_count()} cores, {platform.machine()}"
        title = f"{name}, {now:%Y-%m-%d %H:%M} UTC, {machine}"
        print(f"\n{title}\n\n{self.markdown()}\n")
        REPORTS.mkdir(parents=True, exist_ok=True)
        stem = REPORTS / f"{name}-{now:%Y%m%d-%H%M}"
        stem.with_suffix(".md").write_text(f"{title}\n\n{self.markdown()}\n")
        content = {"at": now.isoformat(), "machine": machine, "rows": [asdict(row) for row in self.rows]}
        stem.with_suffix(".json").write_text(json.dumps(content, indent=2))
