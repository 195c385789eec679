"""How many of a DAG's newest ended runs failed, as Airflow's API lists them."""

from __future__ import annotations

import httpx
import pytest

from medallion_ops.monitor.airflow_view import ENDED_RUNS, _failed_in_a_row


@pytest.mark.parametrize(
    ("newest_first", "failed"),
    [
        ([], 0),
        (["success", "failed"], 0),
        (["failed", "failed", "success", "failed"], 2),
        (["failed"] * 5, 5),
    ],
)
def test_failed_runs_are_counted_up_to_the_last_that_did_not(newest_first: list[str], failed: int) -> None:
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json={"dag_runs": [{"state": state} for state in newest_first]})

    with httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(answer)) as client:
        assert _failed_in_a_row(client, "customers_gold") == failed
    assert asked[0].params.multi_items() == [
        ("state", "success"),
        ("state", "failed"),
        ("order_by", "-run_after"),
        ("limit", str(ENDED_RUNS)),
    ]


def test_a_dag_that_is_not_there_yet_has_none() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(404))
    with httpx.Client(base_url="http://airflow", transport=transport) as client:
        assert _failed_in_a_row(client, "customers_gold") == 0
