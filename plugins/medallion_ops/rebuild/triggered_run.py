"""A run of another DAG as a task: what became of that run is final."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowException

from medallion_ops.alerts.failures import AlreadyMailed

if TYPE_CHECKING:
    from airflow.sdk import Context


class TriggeredRunOperator(TriggerDagRunOperator):
    """Triggers a DAG and waits for its run; retries are for what comes before that, not for its failure.

    A run that failed has mailed its reason, or a person said no: another one would only ask again.
    """

    def execute_complete(self, context: Context, event: tuple[str, dict[str, Any]]) -> None:
        """See TriggerDagRunOperator.

        Raises:
            AlreadyMailed: the run failed.
        """
        try:
            super().execute_complete(context, event)
        except AirflowException as failed:
            raise AlreadyMailed(str(failed)) from failed
