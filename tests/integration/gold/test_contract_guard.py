"""Gold keeps the contracts it runs on, and lets no change in that breaks someone until it is accepted."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from medallion_contracts.errors import BreakingChange, ParameterError, ReleaseMismatch
from medallion_contracts.loader import files_in, load_dataset
from medallion_ops.contracts.in_force import (
    accept,
    note_in_force,
    plan_of_change,
    refuse_breaking_change,
    todays_contract,
)
from medallion_ops.migrations.runner import migrate
from medallion_store.contract_store import StoredContract, contract_in_force, put_in_force
from medallion_store.lake_paths import LakePaths
from medallion_store.postgres import gold_connection
from medallion_store.release import release
from medallion_store.secret import Secret
from medallion_store.utc_time import utc_text
from new_fields import new_field, write_contracts

REMOVED = {
    f"{table}.area_of_test removed"
    for table in ("events", "silver", "gold.customers", "gold.customer_history")
}


def run_by(dsn: Secret, tmp_path: Path) -> StoredContract:
    """Put contracts in force that have a field more than today's."""
    old = StoredContract(
        "customers", files_in(write_contracts(tmp_path, [new_field("area_of_test", "text", "default")]))
    )
    with gold_connection(dsn) as connection:
        assert put_in_force(connection, old)
        assert not put_in_force(connection, old)
    return old


def test_the_contracts_in_force_are_kept_whole(postgres: str) -> None:
    dsn = Secret(postgres)
    assert plan_of_change(dsn, todays_contract("customers")).old is None, "an old database has no such table"
    migrate(dsn, load_dataset("customers"))
    note_in_force(dsn, "customers")
    with gold_connection(dsn) as connection:
        kept = contract_in_force(connection, "customers")
    assert kept is not None
    assert kept.files == todays_contract("customers").files
    assert kept.load() == load_dataset("customers")
    assert not refuse_breaking_change(dsn, "customers").changes


def test_a_breaking_change_is_refused_until_each_part_is_accepted_by_name(
    postgres: str, tmp_path: Path
) -> None:
    dsn = Secret(postgres)
    migrate(dsn, load_dataset("customers"))
    old = run_by(dsn, tmp_path)
    with pytest.raises(BreakingChange) as refused:
        refuse_breaking_change(dsn, "customers")
    assert all(name in str(refused.value) for name in REMOVED)
    assert "make plan" in str(refused.value)

    first, *others = sorted(REMOVED)
    new = todays_contract("customers")
    with pytest.raises(ParameterError, match="'area_of_test removed' is not one of: events"):
        accept(dsn, new, ["area_of_test removed"], "tester")
    for _ in range(2):
        accept(dsn, new, [first], "tester")
    with pytest.raises(BreakingChange) as refused:
        refuse_breaking_change(dsn, "customers")
    assert first not in str(refused.value)
    accept(dsn, new, others, "tester")
    in_force = refuse_breaking_change(dsn, "customers").old
    assert in_force is not None
    assert in_force.contract_id == old.contract_id
    note_in_force(dsn, "customers")

    # Back again, and the same change once more: what was accepted with these contracts still is.
    with gold_connection(dsn) as connection:
        put_in_force(connection, old)
    assert not refuse_breaking_change(dsn, "customers").breaking
    with psycopg.connect(postgres) as connection:
        rows = connection.execute("SELECT change, accepted_by FROM audit.accepted_changes ORDER BY 1")
        assert rows.fetchall() == [(name, "tester") for name in sorted(REMOVED)]


def test_the_gold_dag_goes_on_only_where_stream_and_contracts_allow_it(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medallion_ops.gold.tasks import migrate_gold

    monkeypatch.setenv("MEDALLION_GOLD_DSN", postgres)
    monkeypatch.setenv("MEDALLION_LAKE_URI", str(tmp_path / "lake"))
    assert migrate_gold("customers")
    assert migrate_gold("customers") == []

    heartbeat = Path(LakePaths(str(tmp_path / "lake"), "customers").heartbeat)
    heartbeat.parent.mkdir(parents=True)
    alive = {"state": "working", "at": utc_text(), "release": "another"}
    heartbeat.write_text(json.dumps(alive))
    with pytest.raises(ReleaseMismatch, match="make roll-out"):
        migrate_gold("customers")
    heartbeat.write_text(json.dumps({**alive, "release": release()}))
    run_by(Secret(postgres), tmp_path / "contracts")
    with pytest.raises(BreakingChange, match=r"gold\.customers\.area_of_test removed"):
        migrate_gold("customers")
