"""A run whose staging is lost is followed by another one, which writes again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import TriggerRule
from airflow.sdk.exceptions import AirflowSkipException

from medallion_ops.gold.tasks import dag_id, is_stale

if TYPE_CHECKING:
    from airflow.sdk import Context


class RetriggerRunOperator(TriggerDagRunOperator):
    """Triggers a new run of the gold DAG where a task failed because the run's set is stale; else skipped.

    A run cannot go back to one of its own tasks, so the failed run stays red, and its mail tells why. The
    new run is asked for what this one was: a full write that was lost is written in full again.
    """

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id=dag_id(dataset), trigger_rule=TriggerRule.ONE_FAILED, **kwargs)
        self.dataset = dataset

    def execute(self, context: Context) -> None:
        """Look at the set as it is now, then trigger."""
        if not is_stale(self.dataset, context["run_id"]):
            raise AirflowSkipException("staging is as it was written: see the task that failed")
        self.log.info("staging of this run is lost: another run writes again")
        self.conf = {"full": context["params"]["full"]}
        super().execute(context)
