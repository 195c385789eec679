"""A table of labels that is gone or of no use is noticed, one that only the job can read is not missed."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from medallion_ops.monitor.label_view import label_problem
from settings_of_tests import settings


@pytest.mark.parametrize(
    ("enrichment", "is_there", "problem"),
    [
        (None, False, None),
        ({"source_version": None, "warning": None, "fingerprint": None}, False, None),
        ({"source_version": None, "warning": None, "fingerprint": "f"}, False, None),
        ({"source_version": "sha256:1", "warning": None, "fingerprint": "f"}, True, None),
        ({"source_version": "sha256:1", "warning": None, "fingerprint": "f"}, False, "no file"),
        ({"source_version": None, "warning": "no column churn", "fingerprint": "f"}, True, "no column"),
    ],
)
def test_what_the_last_set_and_the_source_itself_say_is_the_problem(
    empty_gold: str, tmp_path: Path, enrichment: dict[str, object] | None, is_there: bool, problem: str | None
) -> None:
    source = tmp_path / "labels.csv"
    if is_there:
        source.write_text("a")
    chosen = settings(CHURN_SOURCE=str(source), LAKE_URI="/lake", LAKE_AUTH="none")
    with psycopg.connect(empty_gold) as connection:
        assert label_problem(connection, chosen, "customers") is None
        connection.execute(
            "INSERT INTO staging.manifests (dataset, run_id, kind, silver_table_id, to_version, tables, "
            "contract_hash, enrichment) VALUES ('customers', 'r', 'increment', 't', 1, '{}', 'c', %s)",
            [json.dumps(enrichment)],
        )
        found = label_problem(connection, chosen, "customers")
    assert (problem in found) if problem and found else found == problem
