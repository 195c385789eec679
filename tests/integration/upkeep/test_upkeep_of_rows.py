"""A simulated year of hours: what stays is a function of the limits, and what is still needed always does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from medallion_ops.keep_settings import KeepSettings
from medallion_ops.migrations.runner import migrate
from medallion_ops.upkeep.audit_rows import delete_old_rows
from medallion_store.secret import Secret
from staged_sets import DATASET, GoldDatabase

START = datetime(2026, 1, 1, tzinfo=UTC)
KEEP = KeepSettings(audit_days=10, publication_days=20)
TABLES = {
    "sets": "staging.manifests",
    "findings": "audit.gate_results",
    "profiles": "audit.gate_profiles",
    "questions": "audit.decisions",
    "episodes": "audit.gate_episodes",
    "publications": "gold.publications",
    "rejections": "audit.rejected_rows",
}
FIVE_DAYS = """
WITH sets AS (
    INSERT INTO staging.manifests
        (dataset, run_id, kind, silver_table_id, to_version, tables, contract_hash, created_at)
    SELECT 'customers', 'run', 'increment', 'silver', 1, '{}', 'hash', %(day)s + make_interval(hours => h)
    FROM generate_series(0, 119) AS h RETURNING set_id, created_at
), findings AS (
    INSERT INTO audit.gate_results SELECT set_id, 'customers', 'rule', 'expect', 'A rule.', 'critical', true,
        true, 1, NULL, '[]', 'hash', created_at FROM sets
), profiles AS (
    INSERT INTO audit.gate_profiles SELECT set_id, 'customers', 'contract', '{}' FROM sets
), questions AS (
    INSERT INTO audit.decisions (set_id, asked_by_task, options)
    SELECT set_id, 'task ' || set_id, '{}' FROM sets WHERE extract(hour FROM created_at) = 0
), episodes AS (
    INSERT INTO audit.gate_episodes (dataset, kind, failed, set_id, closed_at)
    SELECT 'customers', 'blocked', '{}', set_id, created_at FROM sets WHERE extract(hour FROM created_at) = 0
), rejected AS (
    INSERT INTO audit.rejected_rows (dataset, key, event_time, set_id, rejected_by, released_at)
    SELECT 'customers', set_id::text, created_at, set_id, 'grace',
        CASE WHEN created_at > %(start)s THEN created_at END FROM sets WHERE extract(hour FROM created_at) = 0
)
INSERT INTO gold.publications (dataset, run_id, set_id, kind, silver_table_id, to_version, rows, decision,
    written_at, published_at)
SELECT 'customers', 'run', set_id, 'increment', 'silver', 1, '{}', 'passed', created_at, created_at FROM sets
WHERE extract(hour FROM created_at) <> 5
"""


@pytest.fixture
def gold(postgres: str) -> GoldDatabase:
    migrate(Secret(postgres), DATASET)
    return GoldDatabase(postgres)


def rows(gold: GoldDatabase) -> dict[str, int]:
    return {what: gold.value(f"SELECT count(*) FROM {table}") for what, table in TABLES.items()}


def live(gold: GoldDatabase, days: range) -> dict[str, int]:
    """Each day has 24 sets, 23 of them published, one with a question and a rejection; upkeep every fifth."""
    query = FIVE_DAYS.replace("%(start)s", f"'{START.isoformat()}'").replace("%(day)s", "%s::timestamptz")
    for number in days[::5]:
        day = START + timedelta(days=number)
        gold.query(query, [day])
        delete_old_rows(gold.secret, DATASET.name, KEEP, day + timedelta(days=5))
    return rows(gold)


@pytest.mark.parametrize(
    "days", [pytest.param(35, id="weeks"), pytest.param(365, id="a_year", marks=pytest.mark.full)]
)
def test_what_stays_follows_from_the_limits_and_not_from_the_age(gold: GoldDatabase, days: int) -> None:
    young = live(gold, range(25))
    old = live(gold, range(25, days))
    assert young == old
    assert old["publications"] == 20 * 23
    assert old["findings"] == old["profiles"] == 10 * 24
    # The rejection of the first day is in force: its set and its question stay.
    assert (old["questions"], old["episodes"], old["rejections"]) == (11, 10, 21)
    assert gold.value("SELECT count(*) FROM audit.rejected_rows WHERE released_at IS NULL") == 1


def test_the_last_publication_with_its_set_stays_however_old_it_is(gold: GoldDatabase) -> None:
    live(gold, range(5))
    last = gold.value("SELECT max(set_id) FROM gold.publications")
    delete_old_rows(gold.secret, DATASET.name, KEEP, START + timedelta(days=4_000))
    assert gold.query("SELECT set_id FROM gold.publications") == [(last,)]
    assert gold.value(f"SELECT count(*) FROM audit.gate_profiles WHERE set_id = {last}") == 1
    again = delete_old_rows(gold.secret, DATASET.name, KEEP, START + timedelta(days=4_000))
    assert set(again.values()) == {0}


def test_a_set_that_waits_for_a_decision_stays(gold: GoldDatabase) -> None:
    live(gold, range(5))
    waiting = gold.stage([])
    gold.query(f"UPDATE staging.manifests SET created_at = '2026-01-01' WHERE set_id = {waiting}")
    delete_old_rows(gold.secret, DATASET.name, KEEP, START + timedelta(days=4_000))
    assert gold.value(f"SELECT count(*) FROM staging.manifests WHERE set_id = {waiting}") == 1
