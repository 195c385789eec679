"""The question in Airflow: shown once, heard whenever the answer comes."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput, TaskDeferred

from medallion_contracts.model import Severity
from medallion_ops.gate.decision import Option, answer
from medallion_ops.gate.episodes import is_question_due
from medallion_ops.gate.question import GateDecisionOperator
from medallion_ops.gate.verdict import Finding, Verdict, keep_verdict, verdict_of_set
from staged_sets import NOON, GoldDatabase, version

RUN = "run"


RETRIES = 2


class ThisTask:
    """What the question needs to know of its task instance."""

    def __init__(self, try_number: int = 1, max_tries: int = RETRIES) -> None:
        self.id = uuid4()
        self.try_number = try_number
        self.max_tries = max_tries


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What reached Airflow, which would forget an answer whenever it is told to ask."""
    told: list[Any] = []
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **question: told.append(question))
    return told


def stage_failing(gold: GoldDatabase, run_id: str = RUN) -> int:
    set_id = gold.stage([version("B", tenure=1201)], run_id=run_id)
    finding = Finding(
        "customers", "tenure_in_range", "expect", "A rule.", Severity.CRITICAL, True, False, 2, 1
    )
    with psycopg.connect(gold.dsn) as connection:
        keep_verdict(connection, Verdict(set_id, "hash", (finding,)))
    return set_id


def ask(task: ThisTask) -> Any:
    operator = GateDecisionOperator(
        task_id="decide",
        dataset="customers",
        then={option: option.name.lower() for option in Option},
        retries=RETRIES,
    )
    return operator.execute({"ti": task, "task_instance": task, "run_id": RUN})  # type: ignore[typeddict-item]


@pytest.fixture(autouse=True)
def settings(gold: GoldDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GOLD_DSN": gold.dsn,
        "ALERT_TO": "ops@example.org",
        "SMTP_HOST": "127.0.0.1",
    }.items():
        monkeypatch.setenv(f"MEDALLION_{name}", value)


def test_it_is_shown_once_with_its_set_and_options(gold: GoldDatabase, shown: list[Any]) -> None:
    set_id = stage_failing(gold)

    with pytest.raises(TaskAwaitingInput):
        ask(ThisTask())

    [question] = shown
    assert f"set {set_id} failed" in question["subject"]
    assert question["options"] == [option.value for option in Option]
    assert gold.query("SELECT set_id, answer FROM audit.decisions") == [(set_id, None)]


@pytest.mark.parametrize("is_same_instance", [True, False])
def test_a_try_that_was_lost_after_it_asked_is_followed_by_one_that_waits_for_the_same_answer(
    gold: GoldDatabase, shown: list[Any], is_same_instance: bool
) -> None:
    stage_failing(gold)
    first = ThisTask()
    with pytest.raises(TaskAwaitingInput):
        ask(first)
    second = first if is_same_instance else ThisTask(try_number=2)

    with pytest.raises(TaskDeferred) as waiting:
        ask(second)

    assert len(shown) == 1, "Airflow forgets an answer when it is told to ask again"
    assert waiting.value.method_name == "execute_complete"
    path, arguments = waiting.value.trigger.serialize()
    module, name = path.rsplit(".", 1)
    trigger = getattr(import_module(module), name)(**arguments)
    assert (trigger.ti_id, trigger.defaults) == (second.id, [Option.KEEP_BLOCKED])
    assert gold.value(f"SELECT count(*) FROM audit.decisions WHERE asked_by_task = '{second.id}'") == 1


def answered(gold: GoldDatabase, option: Option, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A question that was asked and answered; gives the list of the tasks that are followed from now on."""
    with pytest.raises(TaskAwaitingInput):
        ask(task := ThisTask())
    with psycopg.connect(gold.dsn) as connection:
        answer(connection, str(task.id), option, "grace", NOON)
    followed: list[str] = []
    monkeypatch.setattr(GateDecisionOperator, "do_branch", lambda self, context, then: followed.append(then))
    return followed


def test_a_try_that_was_lost_after_it_noted_the_answer_is_followed_by_one_that_does_as_decided(
    gold: GoldDatabase, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_failing(gold)
    followed = answered(gold, Option.ANYWAY, monkeypatch)

    ask(ThisTask(try_number=2))

    assert followed == ["anyway"]
    assert len(shown) == 1


def test_who_clears_the_task_is_asked_anew(
    gold: GoldDatabase, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_failing(gold)
    followed = answered(gold, Option.KEEP_BLOCKED, monkeypatch)

    with pytest.raises(TaskAwaitingInput):
        ask(ThisTask(try_number=2, max_tries=1 + RETRIES))

    assert followed == []
    assert len(shown) == 2


def test_nothing_is_remembered_of_a_question_that_airflow_did_not_take(
    gold: GoldDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_failing(gold)

    def refuse(**question: Any) -> None:
        raise RuntimeError("Airflow is away")

    monkeypatch.setattr(hitl, "upsert_hitl_detail", refuse)
    with pytest.raises(RuntimeError):
        ask(ThisTask())

    assert gold.value("SELECT count(*) FROM audit.decisions") == 0


def test_a_run_whose_set_was_written_again_after_it_asked_fails_and_says_what_to_do(
    gold: GoldDatabase, shown: list[Any]
) -> None:
    stage_failing(gold)
    with pytest.raises(TaskAwaitingInput):
        ask(ThisTask())
    stage_failing(gold)

    with pytest.raises(AirflowFailException, match="airflow dags trigger customers_gold"):
        ask(ThisTask())
    set_id = stage_failing(gold, run_id="next")
    with psycopg.connect(gold.dsn) as connection:
        verdict = verdict_of_set(connection, set_id)
        assert verdict
        assert is_question_due(connection, "customers", verdict, None, "next"), "as the message says"


def test_a_run_that_airflow_forgot_does_not_answer_for_one_of_its_name(
    gold: GoldDatabase, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's tables were restored from an older backup: it makes the same run again."""
    stage_failing(gold)
    answered(gold, Option.WITHOUT_FAILING_ROWS, monkeypatch)
    stage_failing(gold)

    with pytest.raises(AirflowFailException, match="the next run asks"):
        ask(ThisTask())
    assert gold.value("SELECT count(*) FROM audit.rejected_rows") == 0
