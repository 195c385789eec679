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
from medallion_contracts.loader import load_dataset
from medallion_ops.gate.decision import (
    DECISION_MINUTES,
    Decision,
    Option,
    Question,
    answer,
    ask,
    options_for,
    question_about,
)
from medallion_ops.gate.episodes import forget_question, note_question
from medallion_ops.gate.mails import in_markdown
from medallion_ops.gold.links import decision_links
from medallion_ops.gold.tasks import set_of_run
from medallion_ops.gold_settings import GoldSettings
from medallion_store.postgres import gold_connection

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import TriggerEvent

    from medallion_ops.gate.verdict import Verdict
    from medallion_store.manifests import Manifest

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
    Only who clears the task is asked anew.

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

    def execute(self, context: Context) -> Any:
        """Show the findings and the options there are for this set, and wait."""
        written, verdict = set_of_run(self.dataset, context["run_id"])
        self.options = [option.value for option in options_for(verdict, load_dataset(self.dataset))]
        self.subject = f"Gold of {self.dataset}: set {written.set_id} failed its checks. What now?"
        self.body = in_markdown(verdict, decision_links(written, verdict))
        asked = self._question_about(written)
        if asked and asked.decision and self._is_retry(context):
            return self._follow(asked.decision, context)
        if asked and asked.decision is None:
            log.info("the question about set %s is shown already", written.set_id)
            self._note_question(context, written, verdict)
            return self._wait_for_answer(context)
        try:
            return super().execute(context)
        except TaskAwaitingInput:
            # Airflow shows the question now; nobody is heard before this task instance waits.
            self._note_question(context, written, verdict)
            raise

    def _question_about(self, written: Manifest) -> Question | None:
        """What was asked about the set before.

        Raises:
            AirflowFailException: This run asked about another set: after a new write, or before Airflow's
                tables were restored from a backup. The next run asks.
        """
        dsn = GoldSettings.from_environment().dsn
        try:
            with gold_connection(dsn) as connection:
                return question_about(connection, written.set_id)
        except GoldError as asked_before:
            with gold_connection(dsn) as connection:
                forget_question(connection, self.dataset)
            raise AirflowFailException(str(asked_before)) from asked_before

    def _note_question(self, context: Context, written: Manifest, verdict: Verdict) -> None:
        with gold_connection(GoldSettings.from_environment().dsn) as connection:
            ask(connection, written.set_id, str(context["ti"].id), self.options)
            note_question(connection, self.dataset, verdict, written.base_publication_id, context["run_id"])

    def _wait_for_answer(self, context: Context) -> None:
        trigger = ShownQuestionTrigger(
            ti_id=context["ti"].id,
            options=self.options,
            params={},
            defaults=self.defaults,
            timeout_datetime=datetime.now(UTC) + timedelta(minutes=DECISION_MINUTES),
        )
        self.defer(trigger=trigger, method_name="execute_complete")

    def _is_retry(self, context: Context) -> bool:
        # Clearing a task gives it all its tries again, counted on from the last one.
        first_try = context["ti"].max_tries - (self.retries or 0) + 1
        return context["ti"].try_number > first_try

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record who decided what, and go where it leads."""
        given = super().execute_complete(context, event)
        person = given["responded_by_user"]
        name = (person.get("name") or person.get("id")) if person else None
        [chosen] = given["chosen_options"]
        with gold_connection(GoldSettings.from_environment().dsn) as connection:
            decision = answer(connection, str(context["ti"].id), chosen, name, given["responded_at"])
        return self._follow(decision, context)

    def _follow(self, decision: Decision, context: Context) -> Any:
        if decision.refused:
            log.warning("the answer %r does not count: %s", decision.option.value, decision.refused)
        who = decision.decided_by or "nobody within the time"
        log.info("set %s: %s, by %s", decision.set_id, decision.option_in_force, who)
        return self.do_branch(context, self.then[decision.option_in_force])
