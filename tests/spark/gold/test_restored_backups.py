"""Gold or the lake from an older backup than the other: gold is what silver says after the next run."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
from psycopg import conninfo, sql

from gold_model import gold_of, version
from gold_runs import GoldRuns
from medallion_store.refresh_plan import RefreshKind

FIRST, SECOND = [version("a"), version("b")], [version("a", 1, tenure=11), version("c")]


def test_a_gold_database_and_then_a_lake_from_an_older_backup(
    runs: GoldRuns, secrets_file: Path, tmp_path: Path
) -> None:
    runs.append(FIRST)
    runs.run()
    older_gold = copy_of(runs.dsn)
    shutil.copytree(runs.lake, tmp_path / "older")
    runs.append(SECOND)
    runs.run()
    assert runs.gold() == gold_of(FIRST + SECOND)

    newer_gold, runs.dsn = runs.dsn, older_gold
    secrets_file.write_text(f"MEDALLION_GOLD_DSN={older_gold}\n")
    assert runs.run().kind is RefreshKind.INCREMENT
    assert runs.gold() == gold_of(FIRST + SECOND), "what was published since is published again"

    runs.dsn = newer_gold
    secrets_file.write_text(f"MEDALLION_GOLD_DSN={newer_gold}\n")
    shutil.rmtree(runs.lake)
    shutil.copytree(tmp_path / "older", runs.lake)
    assert runs.run().kind is RefreshKind.FULL
    assert runs.gold() == gold_of(FIRST), "gold is what the lake says"


def copy_of(dsn: str) -> str:
    """DSN of a copy of the database as it is now: its backup."""
    name = conninfo.conninfo_to_dict(dsn)["dbname"]
    copy = f"{name}_older"
    with psycopg.connect(conninfo.make_conninfo(dsn, dbname="postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(copy), sql.Identifier(str(name)))
        )
    return conninfo.make_conninfo(dsn, dbname=copy)
