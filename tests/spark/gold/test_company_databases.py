"""The job writes the same gold into a database of unusual settings, and behind a pooler."""

from __future__ import annotations

from pathlib import Path

import pytest

from company_databases import TransactionPooler, set_up_as_usual, set_up_unusually
from gold_model import DATASET, gold_of, version
from gold_runs import GoldRuns
from medallion_ops.migrations.runner import migrate
from medallion_store.refresh_plan import RefreshKind
from medallion_store.secret import Secret

VERSIONS = [
    version("CAFÉ-1", first_name="José", last_name="Łukasz 愛", email="unknown", defaulted_fields=["email"]),
    version("B", first_name='O"Back\\slash', last_name="a,b\nc"),
    version("CAFÉ-1", 1, first_name="José María", tenure=11),
]


def test_settings_of_the_database_change_no_byte_that_the_job_copies(runs: GoldRuns) -> None:
    set_up_unusually(runs.dsn)
    runs.append(VERSIONS[:2])
    runs.run()
    runs.append(VERSIONS[2:])
    assert runs.run().kind is RefreshKind.INCREMENT, "it reads the published history by COPY"
    set_up_as_usual(runs.dsn)
    assert runs.gold() == gold_of(VERSIONS)


def test_a_job_behind_a_pooler_in_transaction_mode_writes_the_same(
    runs: GoldRuns, secrets_file: Path, tmp_path: Path
) -> None:
    if missing := TransactionPooler.missing():
        pytest.skip(missing)
    pooler = TransactionPooler(tmp_path / "pooler", runs.dsn)
    try:
        pooler.start()
        secrets_file.write_text(f"MEDALLION_GOLD_DSN={pooler.dsn}\n")
        direct, runs.dsn = runs.dsn, pooler.dsn
        runs.append(VERSIONS[:2])
        runs.publish(runs.write())
        runs.append(VERSIONS[2:])
        runs.publish(runs.write())
    finally:
        pooler.stop()
    runs.dsn = direct
    assert runs.gold() == gold_of(VERSIONS)


def test_without_the_schema_staging_the_next_run_computes_gold_from_scratch(runs: GoldRuns) -> None:
    runs.append(VERSIONS[:2])
    runs.run()
    runs.query("DROP SCHEMA staging CASCADE")
    runs.query("DELETE FROM gold.customers")
    runs.append(VERSIONS[2:])
    migrate(Secret(runs.dsn), DATASET)
    report = runs.run()
    assert report.kind is RefreshKind.FULL
    assert "manifest of the last publication is gone" in report.reason
    assert runs.gold() == gold_of(VERSIONS)
