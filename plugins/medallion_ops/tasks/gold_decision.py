"""The question to a person when the gate held a set back, in Airflow's UI."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.triggers.hitl import HITLTrigger
from airflow.sdk.bases.branch import BranchMixIn
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput

from medallion_contracts.errors import GoldError
from medallion_ops.decision import Option, answer, ask, is_being_asked, options_for
from medallion_ops.gate.mails import in_markdown
from medallion_ops.gold_database import gold_connection
from medallion_ops.settings import GoldSettings
from medallion_ops.tasks.gold import DECISION_MINUTES, decision_links, set_of_run

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import TriggerEvent

log = logging.getLogger(__name__)

_ENDING_SECONDS = 10
"""More than the process of a task takes to end once its task waits."""


class ShownQuestionTrigger(HITLTrigger):
    """Waits for the answer to a question that people see already; it may have been given before.

    Airflow takes a task for killed that goes on while the process that asked is still ending. Hence the
    pause, and hence this trigger: that is how a quick answer gets lost.
    """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        _, arguments = super().serialize()
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the answer, or the default when time is up."""
        await asyncio.sleep(_ENDING_SECONDS)
        async for event in super().run():
            yield event


class GateDecisionOperator(HITLOperator, BranchMixIn):
    """Asks what to do about the run's set, waits without a worker slot, and branches by the answer.

    The question is tied to the set shown: an answer given after another set was written, or after gold
    moved on, is recorded as refused and gold stays as it is. A try that finds the question shown, by one that
    was lost after it asked, takes the answer given to that one: asking again would make Airflow forget it.

    Args:
        dataset: The dataset.
        then: For each option the task that follows.
    """

    inherits_from_skipmixin = True

    def __init__(self, *, dataset: str, then: Mapping[Option, str], **kwargs: Any) -> None:
        super().__init__(
            subject=f"Gold of {dataset} failed its checks: what now?",
            options=[option.value for option in Option],
            defaults=Option.KEEP_BLOCKED.value,
            response_timeout=timedelta(minutes=DECISION_MINUTES),
            **kwargs,
        )
        self.dataset = dataset
        self.then = dict(then)

    def execute(self, context: Context) -> None:
        """Show the findings and the options there are for this set, and wait."""
        written, verdict = set_of_run(self.dataset, context["run_id"])
        options = options_for(verdict)
        self.options = [option.value for option in options]
        task = context["ti"].id
        dsn = GoldSettings.from_environment().dsn
        try:
            with gold_connection(dsn) as connection:
                is_shown = is_being_asked(connection, written.set_id)
        except GoldError as asked_before:
            raise AirflowFailException(str(asked_before)) from asked_before
        if not is_shown:
            self.subject = f"Gold of {self.dataset}: set {written.set_id} failed its checks. What now?"
            self.body = in_markdown(verdict, decision_links(written, verdict))
            try:
                super().execute(context)
            except TaskAwaitingInput:
                # Airflow shows the question now; nobody is heard before this task instance waits.
                with gold_connection(dsn) as connection:
                    ask(connection, written.set_id, str(task), options)
                raise
        log.info("the question about set %s is shown already: waiting for its answer", written.set_id)
        with gold_connection(dsn) as connection:
            ask(connection, written.set_id, str(task), options)
        self.defer(
            trigger=ShownQuestionTrigger(
                ti_id=task,
                options=self.options,
                params={},
                defaults=self.defaults,
                timeout_datetime=datetime.now(UTC) + timedelta(minutes=DECISION_MINUTES),
            ),
            method_name="execute_complete",
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record who decided what, and go where it leads."""
        given = super().execute_complete(context, event)
        person = given["responded_by_user"]
        name = (person.get("name") or person.get("id")) if person else None
        [chosen] = given["chosen_options"]
        with gold_connection(GoldSettings.from_environment().dsn) as connection:
            decision = answer(connection, str(context["ti"].id), chosen, name, given["responded_at"])
        if decision.refused:
            log.warning("the answer %r does not count: %s", chosen, decision.refused)
        log.info(
            "set %s: %s, by %s", decision.set_id, decision.option_in_force, name or "nobody within the time"
        )
        return self.do_branch(context, self.then[decision.option_in_force])
