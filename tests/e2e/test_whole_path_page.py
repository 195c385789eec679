"""The page "Medallion" in the running stack: behind Airflow's login, with what the demo did."""

from __future__ import annotations

import re

import httpx
import pytest

from e2e.conftest import E2E_SECONDS, Platform
from medallion_ops.page.views import PARTS
from medallion_stack.report import Report

pytestmark = pytest.mark.timeout(E2E_SECONDS)
REPLAY = "/api/v2/dags/customers_replay/dagRuns"


def client(platform: Platform, user: str | None) -> httpx.Client:
    """An HTTP client of Airflow, logged in or not, as a browser is: by cookie."""
    found = httpx.Client(base_url=platform.settings["MEDALLION_AIRFLOW_URL"], timeout=30)
    if user is not None:
        password = platform.settings[f"MEDALLION_AIRFLOW_{user.upper()}_PASSWORD"]
        answer = found.post("/auth/token", json={"username": user, "password": password})
        found.cookies.set("_token", answer.json()["access_token"])
    return found


def test_the_page_shows_the_demo_to_a_viewer_and_nothing_without_a_login(
    platform: Platform, demo_report: Report
) -> None:
    platform.run_dag("platform_monitor")
    stranger, viewer = client(platform, None), client(platform, "viewer")
    shown = {}
    for path in ("/medallion/", *(f"/medallion/parts/{name}" for name in PARTS)):
        assert stranger.get(path).status_code == 401
        answer = viewer.get(path)
        assert answer.status_code == 200
        assert "cannot be shown" not in answer.text
        shown[path.rpartition("/")[2]] = answer.text
    # What people let through in the tests before is there too.
    assert f"<strong>{platform.gold.rows()['customers']:,}</strong> rows in customers" in shown["overview"]
    assert "✓ closed" in shown["batches"]
    assert "✗ open" not in shown["batches"]
    assert "passed" in shown["publications"]

    [docs, *_] = re.findall(r'href="(data-docs/[^"]+)"', shown["gate"])
    assert stranger.get(f"/medallion/{docs}").status_code == 401
    assert "Expectation" in viewer.get(f"/medallion/{docs}").text


def test_only_an_operator_starts_a_replay_or_plans_maintenance(
    platform: Platform, demo_report: Report
) -> None:
    run = {"logical_date": None, "conf": {"dry_run": True}}
    form = {"headers": {"X-Medallion-Form": "1"}, "data": {"reason": "upgrade", "hours": "0.01"}}
    for user, wanted in ((None, 401), ("viewer", 403), ("operator", 200)):
        by = client(platform, user)
        assert by.post(REPLAY, json=run).status_code == wanted
        assert by.post("/medallion/maintenance", **form).status_code == wanted  # type: ignore[arg-type]
