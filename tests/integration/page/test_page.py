"""The page in Airflow: behind its login and permissions, quick, and whole when something is away."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from medallion_ops.page import views
from medallion_ops.page.access import FORM_HEADER
from medallion_ops.page.queries import BATCHES

Execute = Callable[..., list[Any]]
Client = Callable[..., Any]
HOSTILE = "<script>alert(1)</script>\u202e" + "A" * 10_000
FORM = {FORM_HEADER: "1", "Origin": "http://airflow.example"}


def paths() -> list[tuple[str, str]]:
    """Method and an address of every route but the metrics."""
    from medallion_ops.page.app import pages

    values = {"name": "incidents", "dataset": "customers", "incident_id": "1", "path:path": "index.html"}
    found = []
    for route in pages.routes:
        assert isinstance(route, APIRoute)
        address = route.path
        for key, value in values.items():
            address = address.replace(f"{{{key}}}", value)
        found += [(method, address.lstrip("/")) for method in route.methods]
    return found


@pytest.fixture
def incident(execute: Execute) -> int:
    [(number,)] = execute(
        "INSERT INTO audit.incidents (code, dataset, subject, level, happened, meaning, first_step, "
        "opened_at, last_seen_at) VALUES ('gold_stale', 'customers', %s, 'critical', %s, 'm', 'f', "
        "now(), now()) RETURNING incident_id",
        [HOSTILE, HOSTILE],
    )
    return int(number)


def test_every_path_asks_for_airflows_login_and_permission(client: Client, auth_manager: Any) -> None:
    assert len(paths()) >= 8
    for method, address in paths():
        for accept in ("text/html", "application/json"):
            headers = {"Accept": accept, **FORM}
            assert client(None).request(method, address, headers=headers).status_code == 401, address
            assert client("").request(method, address, headers=headers).status_code == 403, address
    forged = client(None)
    forged.cookies.set("_token", "forged")
    assert forged.get("").status_code == 403
    for unknown in ("docs", "openapi.json", "redoc"):
        assert client("admin").get(unknown).status_code == 404


def test_someone_who_follows_a_mailed_link_without_a_login_finds_the_way_to_log_in(client: Client) -> None:
    answer = client(None).get("data-docs/customers/index.html", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "/auth/login?next=http%3A%2F%2Fairflow.example%2Fmedallion%2Fdata-docs" in answer.text


@pytest.mark.parametrize("bearer", [False, True])
def test_a_viewer_sees_everything_of_an_empty_platform(client: Client, bearer: bool) -> None:
    viewer = client("viewer", bearer=bearer)
    frame = viewer.get("")
    assert frame.status_code == 200
    assert "default-src 'none'" in frame.headers["Content-Security-Policy"]
    assert "You have no right to start a replay." in frame.text
    for name in views.PARTS:
        answer = viewer.get(f"parts/{name}")
        assert answer.status_code == 200
        assert "cannot be shown" not in answer.text
    assert viewer.get("charts/customers").json()["at"] == []
    assert viewer.get("charts/none").status_code == 404
    assert viewer.get("parts/none").status_code == 404


def test_only_who_may_edit_changes_incidents_and_only_from_the_page_itself(
    client: Client, execute: Execute, incident: int
) -> None:
    address, form = f"incidents/{incident}/acknowledge", {"reason": "upgrade"}
    assert "Acknowledge" not in client("viewer").get("parts/incidents").text
    assert "Acknowledge" in client("op").get("parts/incidents").text
    for path in (address, f"incidents/{incident}/mute", "maintenance"):
        assert client("viewer").post(path, data=form, headers=FORM).status_code == 403
        # What another site's form could send:
        assert client("op").post(path, data=form).status_code == 403
        elsewhere = FORM | {"Origin": "http://evil.example"}
        assert client("op").post(path, data=form, headers=elsewhere).status_code == 403
    assert execute("SELECT acknowledged_by, muted_until FROM audit.incidents") == [(None, None)]

    assert client("op").post(address, headers=FORM).status_code == 200
    assert (
        client("admin").post(f"incidents/{incident}/mute", data={"hours": 2}, headers=FORM).status_code == 200
    )
    assert client("op").post("maintenance", data=form, headers=FORM).status_code == 200
    [(by, muted_by)] = execute("SELECT acknowledged_by, muted_by FROM audit.incidents")
    assert (by, muted_by) == ("the-op", "the-admin")
    assert execute("SELECT reason, created_by FROM audit.maintenance_windows") == [("upgrade", "the-op")]
    for wrong in ({"reason": "x"}, {"reason": "upgrade", "hours": 0}, {"reason": "upgrade", "hours": "nan"}):
        assert client("op").post("maintenance", data=wrong, headers=FORM).status_code == 422
    gone = client("op").post("incidents/999/acknowledge", headers=FORM)
    assert gone.status_code >= 400
    assert "no such open incident" in gone.json()["detail"]


def test_hostile_text_is_shown_as_text_and_cut(client: Client, incident: int) -> None:
    shown = client("viewer").get("parts/incidents").text
    assert "<script>" not in shown
    assert "&lt;script&gt;alert(1)" in shown
    assert "\u202e" not in shown
    assert len(shown) < 5_000


def test_with_postgres_away_each_part_says_so_and_the_page_stands(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = client("viewer")
    monkeypatch.setenv("MEDALLION_GOLD_DSN", "postgresql://u:s3cret@127.0.0.1:1/gold")
    assert viewer.get("").status_code == 200
    for name in views.PARTS:
        answer = viewer.get(f"parts/{name}")
        assert answer.status_code == 200
        assert "Postgres at 127.0.0.1:1/gold does not answer" in answer.text
        assert "s3cret" not in answer.text
    assert viewer.get("charts/customers").status_code == 503


def test_a_look_that_is_old_is_called_so(client: Client, execute: Execute) -> None:
    execute(
        "INSERT INTO audit.monitor_samples (dataset, at, batches, read, silver, duplicate, late, rejected, "
        "lost, gaps, unbalanced, backlog_age, pending_age) "
        "VALUES ('customers', now() - interval '20 minutes', 1, 10, 8, 1, 0, 1, 0, 0, 0, 1, 1)"
    )
    shown = client("viewer").get("parts/overview").text
    assert "20 min ago" in shown
    assert "within its limit" not in shown
    execute("UPDATE audit.monitor_samples SET at = now() - interval '1 minute'")
    healthy = client("viewer").get("parts/overview").text
    assert "within its limit" in healthy
    execute("UPDATE audit.monitor_samples SET stream_notes = %s, stream_failed = true", [["7 <held> back"]])
    shown = client("viewer").get("parts/overview").text
    assert "7 &lt;held&gt; back" in shown
    ticks = healthy.count("within its limit") - shown.count("within its limit")
    assert ticks == 2, "bronze and silver have none: the stream gave up"
    execute("UPDATE audit.monitor_samples SET backlog_age = 1e6, stream_failed = false")
    assert "beyond its limit" in client("viewer").get("parts/overview").text
    assert client("viewer").get("charts/customers").json()["backlog_age"] == [1e6]


def test_gold_that_does_not_get_on_has_no_tick(client: Client, execute: Execute) -> None:
    execute(
        "INSERT INTO audit.monitor_samples (dataset, at, batches, read, silver, duplicate, late, rejected, "
        "lost, gaps, unbalanced, pending_age, failed_runs) "
        "VALUES ('customers', now() - interval '1 minute', 1, 10, 8, 1, 0, 1, 0, 0, 0, 1, 0)"
    )

    def gold() -> str:
        shown = client("viewer").get("parts/overview").text
        return str(shown[shown.index("<h4>gold</h4>") :].partition("</article>")[0])

    assert "✓ within its limit" in gold()
    execute("UPDATE audit.monitor_samples SET failed_runs = 1")
    assert "✗ the last run failed" in gold()
    execute("UPDATE audit.monitor_samples SET failed_runs = 5")
    execute(
        "INSERT INTO audit.gate_episodes (dataset, kind, failed, set_id, opened_at) "
        "VALUES ('customers', 'blocked', '{customers.rule}', 1, '2026-03-01 12:00+00')"
    )
    assert "✗ blocked by the gate since 2026-03-01 12:00 UTC; the last 5 runs failed" in gold()
    assert "✓" not in gold()
    execute("UPDATE audit.gate_episodes SET closed_at = now()")
    execute("UPDATE audit.monitor_samples SET failed_runs = 0")
    assert "✓ within its limit" in gold()


def test_the_last_hour_of_gold_says_what_it_counts(client: Client, execute: Execute) -> None:
    execute("INSERT INTO audit.table_rows VALUES ('customers', 'gold', 'customers', 3, now())")
    assert "0 written (new or changed) in the last hour" in client("viewer").get("parts/overview").text


def test_batches_quarantine_gate_and_publications_are_shown(client: Client, execute: Execute) -> None:
    execute(
        "INSERT INTO audit.micro_batches SELECT 'customers', n, now() - n * interval '1 second', 1.5, 10, 8, "
        "1, 0, CASE n WHEN 77 THEN 2 ELSE 1 END, 0, 0, '{\"value:tenure\": 1}', 2.5 "
        "FROM generate_series(1, 100) AS n"
    )
    execute(
        "INSERT INTO audit.quarantine_samples VALUES ('customers', 'customers', 0, 5, now(), "
        "ARRAY['value:tenure'], %s)",
        [json.dumps({"email": "xxx@xxxxxxx.xxx", "<b>": "<i>"})],
    )
    [(set_id,)] = execute(
        "INSERT INTO staging.manifests (dataset, run_id, kind, silver_table_id, to_version, tables, "
        "contract_hash) VALUES ('customers', 'run', 'increment', 's', 4, '{}', 'h') RETURNING set_id"
    )
    execute(
        "INSERT INTO audit.gate_results VALUES (%s, 'customers', 'tenure_range', 't', %s, 'critical', true, "
        "false, 10, 1, '[]', 'h', now())",
        [set_id, HOSTILE],
    )
    execute(
        "INSERT INTO gold.publications (dataset, run_id, set_id, kind, silver_table_id, to_version, rows, "
        "decision, decided_by, written_at) VALUES ('customers', 'run', %s, 'increment', 's', 4, "
        '\'{"customers": {"inserted": 3, "updated": 1}}\', \'publish anyway\', %s, now())',
        [set_id, HOSTILE],
    )
    viewer = client("viewer")
    batches = viewer.get("parts/batches").text
    assert batches.count('<tr><th scope="row"') == BATCHES
    assert batches.count("✗ open") == 1
    quarantine = viewer.get("parts/quarantine").text
    assert "value:tenure" in quarantine
    assert "&lt;b&gt;" in quarantine
    gate = viewer.get("parts/gate").text
    assert "✗ blocked" in gate
    assert f"data-docs/customers/validations/customers/set-{set_id}/" in gate
    publications = viewer.get("parts/publications").text
    assert "publish anyway" in publications
    assert "3 new, 1 changed" in publications
    assert "<script>" not in gate + publications


def test_data_docs_are_served_from_their_folder_alone(client: Client, tmp_path: Path) -> None:
    docs, viewer = tmp_path / "docs", client("viewer")
    (tmp_path / "secret.html").write_text("secret")
    (docs / "customers").mkdir()
    (docs / "customers/index.html").write_text("<h1>Docs</h1>")
    (docs / "customers/results.json").write_text("{}")
    (docs / "link.html").symlink_to(tmp_path / "secret.html")
    page = viewer.get("data-docs/customers/index.html")
    assert page.text == "<h1>Docs</h1>"
    assert "script-src" not in page.headers["Content-Security-Policy"]
    for address in (
        "../secret.html",
        "%2e%2e/secret.html",
        "..%2fsecret.html",
        "customers/../../secret.html",
        "/etc/hostname",
        "%00",
        "link.html",
        "customers/results.json",
        "customers/none.html",
    ):
        answer = viewer.get(f"data-docs/{address}")
        assert answer.status_code in (404, 400), address
        assert "secret" not in answer.text


def test_static_files_are_of_the_page_alone(client: Client) -> None:
    viewer = client("viewer")
    for name in ("page.css", "page.js", "uPlot.iife.min.js", "uPlot.min.css", "icon.svg"):
        assert viewer.get(f"static/{name}").status_code == 200
    assert viewer.get("static/../app.py").status_code == 404
    assert viewer.get("static/..%2fapp.py").status_code == 404


def test_the_runbook_has_an_anchor_for_each_kind_of_incident(client: Client) -> None:
    from medallion_ops.monitor.runbook import sections

    page = client("viewer").get("runbook").text
    for code in filter(None, sections()):
        assert f'<h2 id="{code}">' in page
    assert "<pre><code" in page
