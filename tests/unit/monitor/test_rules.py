"""What the monitor takes for a problem: pure rules over observations."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from medallion_contracts.loader import load_dataset
from medallion_ops.monitor.limits import Limits, ServiceLevels, service_levels
from medallion_ops.monitor.observation import (
    Counts,
    DatasetObservation,
    Disk,
    Expiry,
    GoldObservation,
    Observation,
    StreamObservation,
    TopicState,
)
from medallion_ops.monitor.problem import Problem
from medallion_ops.monitor.rules import problems
from medallion_ops.monitor.settings import MonitorSettings

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
LEVELS = ServiceLevels(
    silver_freshness=300,
    gold_freshness=7200,
    latency=300,
    quarantine_percent=20,
    completeness_percent=100,
    retention=7 * 86_400,
)
LIMITS = Limits({"customers": LEVELS}, MonitorSettings())
HEALTHY = StreamObservation(
    heartbeat_age=10,
    state="waiting",
    backlog_records=0,
    backlog_age=0,
    latency_p95=4,
    silence=30,
    recent=Counts(read=1000, silver=995, rejected=5),
    last_day=Counts(read=100_000, silver=99_500, rejected=500),
)
FRESH = GoldObservation(pending_age=1800)


def found(
    stream: StreamObservation = HEALTHY,
    gold: GoldObservation = FRESH,
    limits: Limits = LIMITS,
    **platform: Any,
) -> list[Problem]:
    seen = Observation(NOW, (DatasetObservation("customers", stream, gold),), **platform)
    return problems(seen, limits)


def codes(**changes: Any) -> list[str]:
    return [one.code for one in found(**changes)]


def stream(**changes: Any) -> list[str]:
    return codes(stream=replace(HEALTHY, **changes))


def gold(**changes: Any) -> list[str]:
    return codes(gold=replace(FRESH, **changes))


def test_normal_load_is_no_problem() -> None:
    assert not codes()


def test_a_stream_whose_log_is_gone_is_not_said_to_lose_nothing() -> None:
    def meaning(kind: str | None) -> str:
        [problem] = found(stream=replace(HEALTHY, failure="gave up", failure_kind=kind))
        return problem.meaning

    assert "Nothing is lost" in meaning(None)
    assert "Nothing is lost" not in meaning("OtherLogError")


def test_a_platform_that_has_not_begun_is_no_problem() -> None:
    assert not codes(stream=StreamObservation(), gold=GoldObservation())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"heartbeat_age": 121}, "stream_silent"),
        ({"state": "working", "batch_age": 901, "batch_idle": 301}, "batch_hangs"),
        ({"failure": "batch 7: LeaseError"}, "stream_failed"),
        ({"stop_request_age": 3 * 3600 + 1}, "stop_request"),
        ({"backlog_age": 301, "backlog_records": 5}, "silver_stale"),
        ({"latency_p95": 301}, "latency"),
        ({"recent": Counts(read=10, silver=10, lost=1)}, "loss"),
        ({"recent": Counts(read=10, silver=9, unbalanced=1)}, "loss"),
        ({"topics": (TopicState("customers", is_there=False),)}, "topic_missing"),
        ({"topics": (TopicState("customers", True, 3600.0),)}, "topic_retention"),
        ({"shrunk": ("customers-0",)}, "topic_replaced"),
    ],
)
def test_each_trouble_of_the_stream_is_named(changes: dict[str, Any], code: str) -> None:
    assert stream(**changes) == [code]


def test_a_stream_that_was_asked_to_stop_is_not_silent() -> None:
    assert not stream(heartbeat_age=3000, stop_request_age=3000)


def test_a_stream_that_is_silent_is_not_reported_as_a_hanging_batch_too() -> None:
    assert stream(heartbeat_age=3000, state="working", batch_age=3000, batch_idle=3000) == ["stream_silent"]


def test_two_thousand_events_rejected_in_a_row_are_a_problem() -> None:
    assert stream(recent=Counts(read=2000, rejected=2000)) == ["quarantine_rate"]


def test_a_loss_stays_a_problem_while_the_last_day_is_less_complete_than_promised() -> None:
    earlier = Counts(read=99_999, lost=1)
    assert stream(last_day=earlier) == ["loss"]
    most = Limits({"customers": replace(LEVELS, completeness_percent=99.9)}, MonitorSettings())
    assert not found(replace(HEALTHY, last_day=earlier), limits=most)
    nothing_promised = Limits({"customers": replace(LEVELS, completeness_percent=None)}, MonitorSettings())
    assert not found(replace(HEALTHY, last_day=earlier), limits=nothing_promised)


def test_a_topic_that_keeps_records_for_ever_or_long_enough_is_no_problem() -> None:
    kept = (TopicState("customers", True, None), TopicState("customers_replay", True, 7 * 86_400.0))
    assert not stream(topics=kept)


def test_a_sudden_half_is_a_problem_where_the_contract_declares_no_rate() -> None:
    limits = Limits({"customers": replace(LEVELS, quarantine_percent=None)}, MonitorSettings())
    jump = replace(HEALTHY, recent=Counts(read=2000, silver=1000, late=1000))
    assert [one.code for one in found(jump, limits=limits)] == ["quarantine_rate"]
    usual = replace(jump, last_day=Counts(read=10_000, late=4000))
    assert not found(usual, limits=limits)


def test_a_few_rejected_events_are_no_rate() -> None:
    assert not stream(recent=Counts(read=20, rejected=20))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"pending_age": 7201}, "gold_stale"),
        ({"run_age": 1801}, "gold_hangs"),
        ({"question_minutes_left": 14}, "question_expires"),
        ({"label_source_problem": "gone"}, "label_source"),
        ({"failed_runs": 3}, "gold_failing"),
        ({"unreadable": ("view gold.customers_masked is gone",)}, "gold_unreadable"),
    ],
)
def test_each_trouble_of_gold_is_named(changes: dict[str, Any], code: str) -> None:
    assert gold(**changes) == [code]


def test_two_failed_runs_of_gold_are_no_incident_yet() -> None:
    assert gold(failed_runs=2) == []


@pytest.mark.parametrize(
    ("platform", "code"),
    [
        ({"unreachable": {"Kafka": "no answer"}}, "unreachable"),
        ({"paused_dags": ("customers_gold",)}, "dag_paused"),
        ({"disks": (Disk("/lake", 4.0),)}, "disk_full"),
        ({"expiries": (Expiry("The certificate", NOW + timedelta(days=13)),)}, "expires"),
        ({"outbox_age": 901.0}, "outbox"),
        ({"mail_path_problem": "it refused"}, "mail_path"),
    ],
)
def test_each_trouble_of_the_platform_is_named(platform: dict[str, Any], code: str) -> None:
    assert codes(**platform) == [code]


def test_silence_is_a_problem_only_where_and_when_the_contract_expects_events() -> None:
    def during(now: datetime, levels: ServiceLevels) -> list[str]:
        seen = Observation(now, (DatasetObservation("customers", replace(HEALTHY, silence=10_000), FRESH),))
        return [one.code for one in problems(seen, Limits({"customers": levels}, MonitorSettings()))]

    always = replace(LEVELS, expected_interval=900)
    workdays = replace(always, expected_hours="* 6-20 * * 1-5")
    saturday, monday = NOW, NOW + timedelta(days=2)
    assert during(saturday, LEVELS) == []
    assert during(saturday, always) == ["traffic_missing"]
    assert during(saturday, workdays) == []
    assert during(monday, workdays) == ["traffic_missing"]


def test_every_problem_says_what_it_means_and_what_to_do() -> None:
    for one in [
        *found(replace(HEALTHY, heartbeat_age=999, backlog_age=999, recent=Counts(read=500, late=500))),
        *found(unreachable={"Kafka": "x"}, paused_dags=("d",), outbox_age=1e6),
    ]:
        assert one.happened
        assert one.meaning
        assert one.first_step


def test_service_levels_come_from_the_contracts_and_settings_shorten_them() -> None:
    dataset = load_dataset("customers")
    declared = service_levels(dataset, {})
    assert (declared.silver_freshness, declared.gold_freshness, declared.latency) == (300, 7200, 300)
    assert declared.expected_interval is None
    assert (declared.retention, declared.completeness_percent) == (7 * 86_400, 100)
    assert service_levels(dataset, {"customers.gold_freshness": 60}).gold_freshness == 60
    assert service_levels(dataset, {"other.gold_freshness": 60}) == declared
