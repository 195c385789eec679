"""The metrics: for whoever has the token, and readable when Postgres is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from medallion_ops.page.metrics import GAUGES

Client = Callable[..., Any]
Execute = Callable[..., list[Any]]


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Values by name and label values, labels by the alphabet."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_only_the_token_opens_the_metrics(
    client: Client, metrics_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {"Authorization": f"Bearer {metrics_token}"}
    assert client(None).get("metrics", headers=right).status_code == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}):
        assert client(None).get("metrics", headers=headers).status_code == 401
    # A person's login is not the token, nor the token a login.
    assert client("admin").get("metrics").status_code == 401
    assert client(None).get("parts/incidents", headers=right).status_code in (401, 403)
    monkeypatch.delenv("MEDALLION_METRICS_TOKEN")
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}, right):
        assert client(None).get("metrics", headers=headers).status_code == 401


def test_every_documented_metric_is_exposed(client: Client, metrics_token: str, execute: Execute) -> None:
    execute(
        "INSERT INTO audit.monitor_samples (dataset, at, batches, read, silver, duplicate, late, rejected, "
        "lost, gaps, unbalanced, heartbeat_age, backlog_records, backlog_age, latency_p95, pending_age) "
        "VALUES ('customers', now(), 1, 10, 8, 1, 0, 1, 0, 0, 0, 3, 4, 5, 6, 7)"
    )
    execute("INSERT INTO audit.table_rows VALUES ('customers', 'silver', 'silver', 42, now())")
    execute(
        "INSERT INTO audit.incidents (code, dataset, level, happened, meaning, first_step, opened_at, "
        "last_seen_at) VALUES ('gold_stale', 'customers', 'critical', '', '', '', now(), now())"
    )
    [(set_id,)] = execute(
        "INSERT INTO staging.manifests (dataset, run_id, kind, silver_table_id, to_version, tables, "
        "contract_hash) VALUES ('customers', 'run', 'increment', 's', 4, '{}', 'h') RETURNING set_id"
    )
    execute(
        "INSERT INTO audit.gate_results VALUES "
        "(%s, 'customers', 'x', 't', 'd', 'critical', true, false, 10, 1, '[]', 'h', now())",
        [set_id],
    )
    execute(
        "INSERT INTO gold.publications (dataset, run_id, set_id, kind, silver_table_id, to_version, rows, "
        "decision, written_at) VALUES ('customers', 'run', %s, 'increment', 's', 4, '{}', 'passed', now())",
        [set_id],
    )

    found = samples(client(None).get("metrics", headers={"Authorization": f"Bearer {metrics_token}"}).text)

    assert {name for name, _ in found} == {f"medallion_{name}" for name in GAUGES}
    assert found["medallion_backlog_age_seconds", ("customers",)] == 5
    assert found["medallion_table_rows", ("customers", "silver", "silver")] == 42
    assert found["medallion_records_last_hour", ("customers", "quarantine")] == 1
    assert found["medallion_open_incidents", ("gold_stale", "customers", "critical")] == 1
    assert found["medallion_gate_failed_expectations", ("customers", "critical")] == 1


def test_with_postgres_away_the_metrics_say_so(
    client: Client, metrics_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_GOLD_DSN", "postgresql://u:s3cret@127.0.0.1:1/gold")
    answer = client(None).get("metrics", headers={"Authorization": f"Bearer {metrics_token}"})
    assert samples(answer.text) == {("medallion_up", ()): 0}
