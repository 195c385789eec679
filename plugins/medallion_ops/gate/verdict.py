"""What the gate found about a set: kept in audit.gate_results, read by whoever acts on it.

Imports nothing of Great Expectations: DAG tasks, publication and mails read verdicts, the gate makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from medallion_contracts.model import Severity
from medallion_ops.alerts.mail import printable

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class Example:
    """A failing row, fit to be mailed: its key, version and Kafka coordinates, and masked values."""

    key: str
    version: str | None
    coordinates: str | None
    values: Mapping[str, str]

    @property
    def text(self) -> str:
        """In one line, without line breaks, control and direction characters that could forge another."""
        parts = [
            self.key,
            *([f"version {self.version}"] if self.version else []),
            *([f"Kafka {self.coordinates}"] if self.coordinates else []),
            *(f"{name}: {value}" for name, value in self.values.items()),
        ]
        return printable(", ".join(parts))


@dataclass(frozen=True)
class Finding:
    """The outcome of one expectation on one staged table.

    `failing_count` is None when the expectation holds or is about the table as a whole.
    """

    table: str
    name: str
    expectation_type: str
    description: str
    severity: Severity
    is_about_rows: bool
    success: bool
    row_count: int
    failing_count: int | None = None
    examples: tuple[Example, ...] = ()

    @property
    def label(self) -> str:
        """How the expectation is named across tables."""
        return f"{self.table}.{self.name}"

    @property
    def failing_percent(self) -> float | None:
        """Share of the table's rows that fail, in percent."""
        if self.failing_count is None:
            return None
        return 100.0 * self.failing_count / self.row_count if self.row_count else 0.0


@dataclass(frozen=True)
class Verdict:
    """All findings about one set, and the suite that made them."""

    set_id: int
    suite_hash: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether the set may be published without asking anybody."""
        return not self.failed_critical

    @property
    def failed(self) -> tuple[Finding, ...]:
        """Every expectation that does not hold, critical ones first."""
        failed = [finding for finding in self.findings if not finding.success]
        return tuple(sorted(failed, key=lambda finding: (finding.severity, finding.label)))

    @property
    def failed_critical(self) -> tuple[str, ...]:
        """Labels of the critical expectations that do not hold, sorted."""
        return self._labels(Severity.CRITICAL)

    @property
    def failed_warnings(self) -> tuple[str, ...]:
        """Labels of the warnings, sorted."""
        return self._labels(Severity.WARNING)

    @property
    def can_leave_rows_out(self) -> bool:
        """Whether publishing without the failing rows would satisfy every critical expectation."""
        critical = [finding for finding in self.failed if finding.severity is Severity.CRITICAL]
        return bool(critical) and all(finding.is_about_rows for finding in critical)

    def _labels(self, severity: Severity) -> tuple[str, ...]:
        return tuple(sorted(finding.label for finding in self.failed if finding.severity is severity))


_COLUMNS = (
    "table_name, expectation, expectation_type, description, severity, is_about_rows, success, row_count, "
    "failing_count, examples"
)


def verdict_of_set(connection: psycopg.Connection, set_id: int) -> Verdict | None:
    """The gate's verdict on a set, None when it was never checked."""
    rows = connection.execute(
        f"SELECT {_COLUMNS}, suite_hash FROM audit.gate_results WHERE set_id = %s ORDER BY 1, 2",  # noqa: S608 - constant
        [set_id],
    ).fetchall()
    if not rows:
        return None
    return Verdict(set_id, rows[0][-1], tuple(_finding(row[:-1]) for row in rows))


def keep_verdict(connection: psycopg.Connection, verdict: Verdict) -> None:
    """Put a verdict in place of any earlier one on the same set, in the caller's transaction."""
    from psycopg.types.json import Jsonb

    connection.execute("DELETE FROM audit.gate_results WHERE set_id = %s", [verdict.set_id])
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO audit.gate_results (set_id, {_COLUMNS}, suite_hash, checked_at) "  # noqa: S608 - constant
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp())",
            [
                [
                    verdict.set_id,
                    finding.table,
                    finding.name,
                    finding.expectation_type,
                    finding.description,
                    finding.severity.value,
                    finding.is_about_rows,
                    finding.success,
                    finding.row_count,
                    finding.failing_count,
                    Jsonb([asdict(example) for example in finding.examples]),
                    verdict.suite_hash,
                ]
                for finding in verdict.findings
            ],
        )


def _finding(row: Iterable[Any]) -> Finding:
    table, name, kind, description, severity, about_rows, success, rows, failing, examples = row
    return Finding(
        table,
        name,
        kind,
        description,
        Severity(severity),
        about_rows,
        success,
        rows,
        failing,
        tuple(Example(**example) for example in examples),
    )
