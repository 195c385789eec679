"""Is there something to write? Airflow asks Delta's log and Postgres before it submits a job."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from medallion_contracts.errors import GoldError
from medallion_ops.gold.pending_changes import next_write
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.lake_settings import LakeSettings
from medallion_ops.migrations.runner import migrate
from medallion_ops.settings import Settings
from medallion_store.delta_history import silver_state
from medallion_store.lake_paths import LakePaths
from medallion_store.refresh_plan import Plan, RefreshKind, gold_contract_hash
from medallion_store.secret import Secret
from staged_sets import DATASET, GoldDatabase


class Asker:
    """Settings of one lake and one database; silver needs only a few columns here."""

    def __init__(
        self, dsn: str, folder: Path, churn: str | None = None, login: tuple[str, str] | None = None
    ) -> None:
        self.gold = GoldDatabase(dsn)
        self.churn = folder / "churn.csv"
        self.lake = LakeSettings(uri=str(folder / "lake"))
        self.silver = LakePaths(self.lake.uri, DATASET.name).silver
        user, password = login or (None, None)
        self.settings = _settings(
            self.lake,
            GoldSettings(
                dsn=Secret(dsn),
                churn_source=churn or str(self.churn),
                churn_username=user,
                churn_password=Secret(password) if password else None,
            ),
        )

    def commit(self, *customers: str, mode: Literal["append", "overwrite"] = "append") -> None:
        write_deltalake(self.silver, pa.table({"customer_id": pa.array(customers, pa.string())}), mode=mode)

    def ask(self) -> Plan:
        return next_write(self.settings, DATASET)

    def publish(self) -> None:
        """A publication of everything there is now."""
        state = silver_state(self.silver, {}, None)
        assert state is not None
        [[set_id]] = self.gold.query(
            "INSERT INTO staging.manifests (dataset, run_id, kind, silver_table_id, to_version, tables, "
            "contract_hash) VALUES ('customers', 'run', 'rebuild', %s, %s, '{}', %s) RETURNING set_id",
            [state.table_id, state.version, gold_contract_hash(DATASET)],
        )
        self.gold.query(
            "INSERT INTO gold.publications (dataset, run_id, set_id, kind, silver_table_id, to_version, "
            "rows, decision, written_at) "
            "VALUES ('customers', 'run', %s, 'rebuild', %s, %s, '{}', 'passed', now())",
            [set_id, state.table_id, state.version],
        )


def _settings(lake: LakeSettings, gold: GoldSettings) -> Settings:
    parts: dict[str, Any] = {"lake": lake, "gold": gold}
    settings = object.__new__(Settings)  # only these two sections are asked for
    for name, value in parts.items():
        object.__setattr__(settings, name, value)
    return settings


@pytest.fixture
def asker(postgres: str, tmp_path: Path) -> Asker:
    migrate(Secret(postgres), DATASET)
    return Asker(postgres, tmp_path)


def test_without_a_silver_table_there_is_nothing_to_write(asker: Asker) -> None:
    assert asker.ask().kind is RefreshKind.NONE


def test_rows_are_to_be_written_until_they_are_published(asker: Asker) -> None:
    asker.commit("a")
    assert asker.ask().kind is RefreshKind.FULL
    asker.publish()
    assert asker.ask().kind is RefreshKind.NONE
    asker.commit("b")
    assert asker.ask().kind is RefreshKind.INCREMENT


def test_compaction_is_nothing_to_write(asker: Asker) -> None:
    asker.commit("a")
    asker.commit("b")
    asker.publish()
    DeltaTable(asker.silver).optimize.compact()
    assert asker.ask().kind is RefreshKind.NONE


def test_an_overwritten_silver_is_to_be_written_whole(asker: Asker) -> None:
    asker.commit("a")
    asker.publish()
    asker.commit("b", mode="overwrite")
    assert asker.ask().kind is RefreshKind.FULL


def test_a_silver_that_was_restored_and_has_grown_past_the_published_version_is_to_be_written_whole(
    asker: Asker, tmp_path: Path
) -> None:
    asker.commit("a")
    shutil.copytree(asker.silver, tmp_path / "backup")
    asker.commit("b")
    asker.publish()
    assert asker.ask().kind is RefreshKind.NONE, "a publication without an identity adopts this commit"
    shutil.rmtree(asker.silver)
    shutil.copytree(tmp_path / "backup", asker.silver)
    asker.commit("c")
    assert asker.ask().kind is RefreshKind.FULL, "same table, same version, another commit"
    asker.commit("d")
    found = asker.ask()
    assert (found.kind, "restored" in found.reason) == (RefreshKind.FULL, True)


def test_a_published_commit_that_the_log_has_lost_means_a_full_write(asker: Asker) -> None:
    asker.commit("a")
    asker.publish()
    asker.ask()
    asker.commit("b")
    DeltaTable(asker.silver).create_checkpoint()
    for version in range(2):
        Path(asker.silver, "_delta_log", f"{version:020}.json").unlink()
    found = asker.ask()
    assert (found.kind, "no longer holds" in found.reason) == (RefreshKind.FULL, True)


def test_the_hourly_question_reads_the_commits_since_the_publication_and_no_others(asker: Asker) -> None:
    for number in range(30):
        asker.commit(f"c{number}")
    DeltaTable(asker.silver).create_checkpoint()
    asker.publish()
    asker.ask()
    # What an old lake has much of is not looked at: the question works without it.
    for commit in Path(asker.silver, "_delta_log").glob("*.json"):
        if int(commit.stem) < 29:
            commit.unlink()
    for checkpoint in Path(asker.silver, "_delta_log").glob("*checkpoint*"):
        checkpoint.unlink()
    assert asker.ask().kind is RefreshKind.NONE
    entry = json.dumps({"commitInfo": {"operation": "WRITE", "operationParameters": {"mode": "Append"}}})
    Path(asker.silver, "_delta_log", f"{30:020}.json").write_text(entry)
    found = asker.ask()
    assert (found.kind, found.to_version) == (RefreshKind.INCREMENT, 30)


def test_a_rejected_row_and_a_changed_churn_file_are_to_be_written(asker: Asker) -> None:
    asker.commit("a")
    asker.publish()
    asker.churn.write_text("customerID,Churn\na,Yes\n")
    assert asker.ask().reason == "the enrichment source changed"
    asker.gold.query(
        "INSERT INTO audit.rejected_rows (dataset, key, event_time, rejected_by) VALUES "
        "('customers', 'a', %s, 'tester')",
        [datetime(2026, 5, 4, tzinfo=UTC)],
    )
    assert asker.ask().reason == "rows were rejected or released"


def test_a_changed_table_of_outcomes_in_a_database_is_to_be_written(
    postgres: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    migrate(Secret(postgres), DATASET)
    login, place = postgres.removeprefix("postgresql://").split("@")
    user, password = login.split(":")
    source = f"jdbc:postgresql://{place.split('?')[0]}?table=public.outcomes"
    asker = Asker(postgres, tmp_path, churn=source, login=(user, password))
    asker.commit("a")
    asker.publish()
    assert asker.ask().kind is RefreshKind.NONE
    assert "does not answer" in caplog.text, "there is no such table yet"

    asker.gold.query("CREATE TABLE public.outcomes AS SELECT 'a' AS customer_id, true AS churned")
    assert asker.ask().reason == "the enrichment source changed"


def test_a_database_without_tables_names_the_remedy(postgres: str, tmp_path: Path) -> None:
    with pytest.raises(GoldError, match="migrations"):
        Asker(postgres, tmp_path).ask()
