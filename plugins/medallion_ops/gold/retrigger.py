"""A run whose staging is lost is followed by another one, which writes again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import TriggerRule
from airflow.sdk.exceptions import AirflowSkipException

from medallion_ops.gold.links import dag_id
from medallion_ops.gold.tasks import is_stale, run_asked

if TYPE_CHECKING:
    from airflow.sdk import Context


_RUN_ID = re.compile(r"restaged-(\d+)__(.*)", re.DOTALL)
MOST_IN_A_ROW = 3
"""Runs that follow one another by themselves. When staging is lost that often, Postgres does not stay up, or
somebody empties it: the next run by the schedule is soon enough, and each failure was mailed."""


class RetriggerRunOperator(TriggerDagRunOperator):
    """Triggers a new run of the gold DAG where a task failed because the run's set is stale; else skipped.

    A run cannot go back to one of its own tasks, so the failed run stays red, and its mail tells why. The
    new run is asked for what this one was: a full write that was lost is written in full again, and a
    question whose set was lost is asked about the new one.

    Its id follows from this run's, so a retried or cleared task triggers nothing twice.
    """

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(
            trigger_dag_id=dag_id(dataset),
            trigger_rule=TriggerRule.ONE_FAILED,
            skip_when_already_exists=True,
            **kwargs,
        )
        self.dataset = dataset

    def execute(self, context: Context) -> None:
        """Look at the set as it is now, then trigger."""
        if not is_stale(self.dataset, context["run_id"]):
            raise AirflowSkipException("staging is as it was written: see the task that failed")
        self.trigger_run_id = following_run(context["run_id"])
        if self.trigger_run_id is None:
            raise AirflowSkipException(
                f"staging was lost {MOST_IN_A_ROW + 1} times in a row: the schedule's next"
            )
        self.log.info("staging of this run is lost: the run %s writes again", self.trigger_run_id)
        asks = context["params"]["ask"] or run_asked(self.dataset, context["run_id"])
        self.conf = {"full": context["params"]["full"], "ask": asks}
        super().execute(context)


def following_run(run_id: str) -> str | None:
    """The id of the run that follows one whose staging is lost; None after so many in a row."""
    made = _RUN_ID.fullmatch(run_id)
    number, first = (int(made[1]) + 1, made[2]) if made else (1, run_id)
    return f"restaged-{number}__{first[:200]}" if number <= MOST_IN_A_ROW else None
