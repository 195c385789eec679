"""The question to a person when the gate held a set back, in Airflow's UI."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.bases.branch import BranchMixIn

from medallion_ops.decision import Option, answer, ask, options_for
from medallion_ops.gate.mails import in_markdown
from medallion_ops.gold_database import gold_connection
from medallion_ops.settings import GoldSettings
from medallion_ops.tasks.gold import DECISION_MINUTES, decision_links, set_of_run

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class GateDecisionOperator(HITLOperator, BranchMixIn):
    """Asks what to do about the run's set, waits without a worker slot, and branches by the answer.

    The question is tied to the set shown: an answer given after another set was written, or after gold
    moved on, is recorded as refused and gold stays as it is.

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
        run = context["run_id"]
        written, verdict = set_of_run(self.dataset, run)
        options = options_for(verdict)
        self.options = [option.value for option in options]
        self.subject = f"Gold of {self.dataset}: set {written.set_id} failed its checks. What now?"
        self.body = in_markdown(verdict, decision_links(written, verdict))
        with gold_connection(GoldSettings.from_environment().dsn) as connection:
            ask(connection, written.set_id, str(context["ti"].id), options)
        super().execute(context)

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
