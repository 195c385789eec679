"""The page as people see it: light, dark and on a phone, without an error and without a request elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from browser import CHROMIUM, Browser, Seen
from medallion_stack.ports import LOOPBACK, free_port

Execute = Callable[..., list[Any]]
Client = Callable[..., Any]
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"
)
READY = "document.documentElement.dataset.ready && document.querySelector('.uplot')"
WIDE, PHONE = (1280, 900), (380, 800)


class AirflowApi:
    """Stands for Airflow's own API next to the page: keeps what the browser sends, knows one run."""

    def __init__(self, app: Any) -> None:
        self.sent: list[tuple[dict[str, Any], bool]] = []

        async def start(request: Request) -> dict[str, Any]:
            self.sent.append((await request.json(), "_token" in request.cookies))
            return {"dag_run_id": "manual__1"}

        base = "/api/v2/dags/customers_replay/dagRuns"
        app.add_api_route(base, start, methods=["POST"])
        app.add_api_route(f"{base}/manual__1", lambda: {"state": "success"})
        counts = {"value": {"rows": 3, "late": 3}}
        app.add_api_route(
            f"{base}/manual__1/taskInstances/count_rows/xcomEntries/return_value", lambda: counts
        )


@pytest.fixture
def site(client: Client, execute: Execute) -> Iterator[tuple[str, AirflowApi]]:
    """The page and a day of looks behind an HTTP server; its address."""
    import uvicorn

    execute(
        "INSERT INTO audit.monitor_samples (dataset, at, batches, read, silver, duplicate, late, rejected, "
        "lost, gaps, unbalanced, backlog_age, latency_p95, pending_age) "
        "SELECT 'customers', now() - n * interval '2 minutes', 1, 1000, 980, 10, 0, 10, 0, 0, 0, n % 9, 2, 1 "
        "FROM generate_series(0, 719) AS n"
    )
    execute(
        "INSERT INTO audit.micro_batches SELECT 'customers', n, now(), 1.5, 10, 8, 1, 0, 1, 0, 0, '{}', 2.5 "
        "FROM generate_series(1, 60) AS n"
    )
    execute(
        "INSERT INTO audit.incidents (code, dataset, subject, level, happened, meaning, first_step, "
        "opened_at, last_seen_at) "
        "VALUES ('gold_stale', 'customers', '', 'critical', %s, '', '', now(), now())",
        ["<img src=x onerror=alert(1)>" + "A" * 10_000],
    )
    app = client(None).app
    api = AirflowApi(app)
    port = free_port(set())
    server = uvicorn.Server(uvicorn.Config(app, host=LOOPBACK, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://{LOOPBACK}:{port}", api
    server.should_exit = True
    thread.join()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as found:
        yield found


def cookies(client: Client, role: str) -> dict[str, str]:
    return {"_token": client(role).cookies["_token"]}


def stayed_here(seen: Seen, address: str) -> bool:
    return all(request.startswith((address, "data:", "blob:")) for request in seen.requests)


def test_the_page_is_whole_in_light_dark_and_on_a_phone(
    client: Client, site: tuple[str, AirflowApi], browser: Browser
) -> None:
    address, _ = site
    pictures = []
    for (width, height), is_dark in ((WIDE, False), (WIDE, True), (PHONE, False), (PHONE, True)):
        browser.look(width, height, is_dark=is_dark)
        seen = browser.open(f"{address}/medallion/", cookies(client, "op"), READY)
        assert seen.errors == []
        assert stayed_here(seen, address), seen.requests
        assert len(seen.requests) >= 10
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, "no sideways scrolling"
        text = browser.evaluate("document.body.innerText")
        assert "<img src=x onerror=alert(1)>" in text
        assert "cannot be shown" not in text
        unnamed = "[...document.querySelectorAll('input, select')].filter((one) => !one.labels.length).length"
        assert browser.evaluate(unnamed) == 0, "screen readers name every field"
        pictures.append(browser.screenshot())
    assert len(set(pictures)) == 4


def test_a_replay_is_counted_first_and_started_as_the_person_who_asks(
    client: Client, site: tuple[str, AirflowApi], browser: Browser
) -> None:
    address, api = site
    browser.look(*WIDE)
    browser.open(f"{address}/medallion/", cookies(client, "op"), READY)
    form = "document.querySelector('[data-replay]')"
    send = f"{form}.querySelector('[value=\"false\"]')"
    assert browser.evaluate(f"{send}.disabled"), "nothing is sent before it is counted"
    browser.evaluate(f"{form}.elements.reasons.value = 'late, value:tenure'")
    browser.evaluate(f"{form}.elements.from.value = '2026-11-28T10:00'")
    browser.evaluate(f"{form}.querySelector('[value=\"true\"]').click()")
    wait_for(browser, f"{form}.innerText.includes('late 3')")
    browser.evaluate(f"{send}.click()")
    wait_for(browser, f"{form}.innerText.includes('manual__1 has started')")
    wanted = {"reasons": ["late", "value:tenure"], "from": "2026-11-28T10:00:00+00:00", "to": None}
    assert api.sent == [
        ({"logical_date": None, "conf": {**wanted, "dry_run": True}}, True),
        ({"logical_date": None, "conf": {**wanted, "dry_run": False}}, True),
    ]

    browser.open(f"{address}/medallion/", cookies(client, "viewer"), READY)
    assert browser.evaluate(f"{form} === null"), "a viewer is not offered what Airflow would refuse"


def test_an_incident_is_acknowledged_with_a_click(
    client: Client, site: tuple[str, AirflowApi], browser: Browser, execute: Execute
) -> None:
    browser.look(*WIDE)
    browser.open(f"{site[0]}/medallion/", cookies(client, "op"), READY)
    browser.evaluate("document.querySelector('[data-send$=\"/acknowledge\"] button').click()")
    wait_for(browser, "document.body.innerText.includes('is acknowledged by the-op')")
    assert execute("SELECT acknowledged_by FROM audit.incidents") == [("the-op",)]


def wait_for(browser: Browser, expression: str) -> None:
    deadline = time.monotonic() + 30
    while not browser.evaluate(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.1)
