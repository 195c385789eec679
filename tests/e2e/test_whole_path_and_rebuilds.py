"""`customers_rebuild` in the running stack, after `test_whole_path`: its rows are made again from bronze."""

from __future__ import annotations

import pytest
from deltalake import DeltaTable

from e2e.conftest import E2E_SECONDS, Platform
from medallion_stack.report import Report
from medallion_store.lake_paths import LakePaths

pytestmark = pytest.mark.timeout(E2E_SECONDS)


TASKS = (
    *("stop_stream", "wait_for_stream", "rebuild_silver", "start_stream", "report_silver"),
    *("rebuild_gold", "report_gold"),
)


def silver(platform: Platform) -> tuple[int, list[tuple[object, ...]]]:
    """Version and rows of silver."""
    table = DeltaTable(LakePaths(platform.settings["MEDALLION_LAKE_URI"], "customers").silver)
    rows = table.to_pyarrow_table().drop_columns(["defaulted_fields"]).to_pylist()
    return table.version(), sorted((tuple(row.values()) for row in rows), key=str)


def data_of_gold(platform: Platform) -> dict[str, int]:
    """Rows of each table but the publications: the rebuild is one more of them."""
    return {table: count for table, count in platform.gold.rows().items() if table != "publications"}


@pytest.mark.parametrize("mode", ["as-judged", pytest.param("judge-again", marks=pytest.mark.full)])
def test_a_rebuild_gives_the_same_silver_and_gold_beside_a_stream_that_goes_on(
    platform: Platform, demo_report: Report, mode: str
) -> None:
    (version, rows), gold = silver(platform), data_of_gold(platform)

    run = platform.run_dag("customers_rebuild", mode=mode)

    states = {task.task_id: task.state for task in platform.airflow.tasks("customers_rebuild", run)}
    assert states == dict.fromkeys(TASKS, "success")
    rebuilt, same = silver(platform)
    assert rebuilt > version, "silver was replaced"
    assert same == rows
    assert data_of_gold(platform) == gold
