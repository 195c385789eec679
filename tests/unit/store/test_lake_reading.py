"""What a log says that a power cut damaged, and what of a log is read for a small question."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from medallion_contracts.errors import DamagedLog, ServiceUnavailable
from medallion_ops.monitor.lake_view import ledger_news, oldest_pending
from medallion_spark.lake.table_log import TableLog
from medallion_spark.maintenance.tables import maintain_table
from medallion_spark.session.lake_access import LakeAccess
from medallion_store.delta_history import rows_since, silver_state
from medallion_store.refresh_plan import Published

NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A table of six commits of two rows."""
    path = str(tmp_path / "silver")
    for number in range(6):
        write_deltalake(path, pa.table({"sequence": [number, number]}), mode="append")
    return path


def commit(table: str, version: int) -> Path:
    return Path(table, "_delta_log", f"{version:020d}.json")


def cut(table: str, version: int, share: float = 0.6) -> Path:
    """Leave the first part of a commit file."""
    file = commit(table, version)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    return file


READERS: dict[str, Callable[[str], object]] = {
    "the stream": lambda path: TableLog(path, {}).current(),
    "gold": lambda path: silver_state(path, {}, None),
    "gold, by the commits since the publication": lambda path: silver_state(path, {}, published(path, 1)),
    "maintenance": lambda path: maintain_table(
        LakeAccess(str(Path(path).parent)), path, now=NOW, retention=timedelta(days=7)
    ),
    "the monitor": lambda path: ledger_news(path, {}, None),
}


def published(path: str, version: int) -> Published:
    state = silver_state(path, {}, Published(1, "", version, ""))
    return Published(1, state.table_id, version, "", commit_id=state.published_commit_id) if state else None  # type: ignore[return-value]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("share", [0.02, 0.6])
def test_a_commit_file_that_is_cut_short_is_named_with_what_to_do(
    table: str, reader: str, share: float
) -> None:
    read = READERS[reader]
    if reader.startswith("gold,"):
        known = published(table, 1)
        read = lambda path: silver_state(path, {}, known)  # noqa: E731
    file = cut(table, 5, share)
    with pytest.raises(DamagedLog, match="move the file away and start again") as refused:
        read(table)
    assert str(file) in str(refused.value)
    file.unlink()
    if reader != "the monitor":  # no ledger
        read(table)


def test_a_cut_commit_that_newer_ones_build_on_has_to_come_back(table: str) -> None:
    file = cut(table, 3)
    with pytest.raises(DamagedLog, match=r"newer commits build on it.*from a backup") as refused:
        TableLog(table, {}).current()
    assert str(file) in str(refused.value)


def test_a_log_that_is_open_already_names_it_too(table: str) -> None:
    log = TableLog(table, {})
    assert log.current().version() == 5
    write_deltalake(table, pa.table({"sequence": [6]}), mode="append")
    cut(table, 6)
    with pytest.raises(DamagedLog, match=r"00006\.json is cut short"):
        log.current()


def test_a_lake_that_does_not_answer_is_not_called_damaged() -> None:
    broken = {"azure_storage_account_name": "x", "azure_storage_account_key": "not base64"}
    with pytest.raises(ServiceUnavailable, match="MEDALLION_LAKE_AUTH"):
        ledger_news("abfs://lake@nowhere.dfs.core.windows.net/ledger", broken, None)


def test_the_rows_since_a_version_are_those_of_the_commits_after_it(table: str) -> None:
    assert rows_since(table, {}, 2) == (6, 5)
    assert rows_since(table, {}, 5) == (0, 5)
    DeltaTable(table).optimize.compact()
    assert rows_since(table, {}, 2) == (6, 6), "files that were joined hold the same rows"
    assert rows_since(table, {}, 7) is None, "the table was set back before it"
    DeltaTable(table).delete("sequence = 1")
    assert rows_since(table, {}, 2) is None, "rows went"
    commit(table, 2).unlink()
    assert rows_since(table, {}, 2) is None


def test_the_oldest_commit_that_gold_lacks_is_found_without_opening_the_table(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeltaTable, "__init__", None)

    def moment(version: int) -> datetime:
        actions = [json.loads(line) for line in commit(table, version).read_text().splitlines()]
        [made] = [action["commitInfo"]["timestamp"] for action in actions if "commitInfo" in action]
        return datetime.fromtimestamp(made / 1000, UTC)

    assert oldest_pending(table, {}, 2) == moment(3)
    assert oldest_pending(table, {}, None) == moment(0)
    assert oldest_pending(table, {}, 5) is None
    assert oldest_pending(table, {}, 9) is None, "set back"
    assert oldest_pending(f"{table}-not-yet", {}, None) is None
    for version in range(3):
        commit(table, version).unlink()  # as log cleanup does
    assert oldest_pending(table, {}, None) == moment(3)
