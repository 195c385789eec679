"""The gate on a million staged rows, and readers while a million rows of gold change.

`make bench-gold` runs this.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import pytest

from medallion_ops.gate.audit import audit_set
from medallion_ops.gold.publication import publish_set
from medallion_ops.migrations.runner import migrate
from medallion_store.secret import Secret
from staged_sets import DATASET, GoldDatabase

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]
Keep = Callable[[str, Mapping[str, float]], None]

CUSTOMERS = 200_000
VERSIONS = f"""
SELECT 'c' || g % {CUSTOMERS}, 'Female', g % 7 = 0, g % 2 = 0, g % 3 = 0, g % 70 + {{more}}, true,
    (array['DSL', 'Fiber optic', 'No'])[1 + g % 3],
    (array['Month-to-month', 'One year', 'Two year'])[1 + g / 3 % 3],
    20 + g % 90, (20 + g % 90) * (g % 70 + {{more}}),
    timestamptz '2020-01-01 00:00+00' + g / 9 * interval '1 hour',
    'First' || g, 'Last' || g, 'c' || g || '@example.org', '{{{{}}}}'::text[], 'customers', g % 4, g, 0
FROM generate_series(0, {2 * CUSTOMERS - 1}) AS g"""
"""Two versions of each customer, nine an hour."""


@pytest.fixture
def gold(postgres: str) -> GoldDatabase:
    migrate(Secret(postgres), DATASET)
    return GoldDatabase(postgres)


def staged_rows(gold: GoldDatabase, set_id: int) -> int:
    tables = gold.value("SELECT tables FROM staging.manifests WHERE set_id = %s", [set_id])
    return sum(table["rows"] for table in tables.values())


def audited(gold: GoldDatabase, more: int, folder: Path | None) -> tuple[int, float]:
    """Stage and audit; the set and the seconds of the audit."""
    set_id = gold.stage(VERSIONS.format(more=more))
    started = time.monotonic()
    assert audit_set(gold.secret, DATASET, set_id, folder).passed
    return set_id, time.monotonic() - started


class Reader(threading.Thread):
    """Asks for one customer again and again, as a service that reads gold does."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self._end = threading.Event()
        self.longest = 0.0
        self.reads = 0
        self.seen: list[int] = []

    def run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._end.wait(0.002):
                self._read(connection)
            self._read(connection)

    def _read(self, connection: psycopg.Connection) -> None:
        started = time.monotonic()
        [(tenure,)] = connection.execute("SELECT tenure FROM gold.customers WHERE customer_id = 'c7'")
        self.longest = max(self.longest, time.monotonic() - started)
        self.reads += 1
        if self.seen[-1:] != [tenure]:
            self.seen.append(tenure)

    def end(self) -> None:
        self._end.set()
        self.join()


def test_gold_gate_and_readers(gold: GoldDatabase, tmp_path: Path, keep: Keep) -> None:
    first, gate_first = audited(gold, 0, tmp_path)
    rows = staged_rows(gold, first)
    publish_first = publish_set(gold.secret, DATASET, first).seconds
    second, gate_second = audited(gold, 1, tmp_path)
    reader = Reader(gold.dsn)
    reader.start()
    changed = publish_set(gold.secret, DATASET, second)
    reader.end()

    keep(
        "gold_gate",
        {
            "rows over all staging tables": rows,
            "gate, first set, with Data Docs: seconds (at most 6)": gate_first,
            "gate, against the last publication: seconds (at most 6)": gate_second,
            "first publication: seconds": publish_first,
            "publication that changes every customer: seconds": changed.seconds,
            "rows of gold it changed": changed.changed,
            "reads meanwhile": reader.reads,
            "longest read meanwhile: seconds": reader.longest,
        },
    )
    assert rows >= 1_000_000
    assert len(reader.seen) == 2, "readers see the old state, then the new one"
    assert max(gate_first, gate_second) <= 6
    assert reader.longest < 1
