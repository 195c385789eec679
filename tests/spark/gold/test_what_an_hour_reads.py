"""An hour costs what it touches, whatever gold holds: counted in rows read, which no busy machine changes."""

from __future__ import annotations

from gold_model import gold_of, version
from gold_runs import GoldRuns
from medallion_store.refresh_plan import RefreshKind

CUSTOMERS, TOUCHED = 4_000, 100


def test_an_hour_reads_of_gold_what_it_touches(runs: GoldRuns) -> None:
    # All of one moment: an index by time finds all of them.
    known = [version(f"c{number:05}") for number in range(CUSTOMERS)]
    runs.append(known)
    runs.run()
    before = runs.rows_read()
    changed = [version(f"c{number:05}", 2, tenure=11) for number in range(0, CUSTOMERS, CUSTOMERS // TOUCHED)]
    runs.append(changed)
    report = runs.run()
    assert (report.kind, report.rows["customers"]) == (RefreshKind.INCREMENT, TOUCHED)
    # Its rows in three tables, by up to four statements, some of which see a replaced row's entry too.
    assert TOUCHED <= runs.rows_read() - before <= 16 * TOUCHED
    assert runs.gold() == gold_of(known + changed)
