"""<dataset>_rebuild: makes silver from bronze again, then gold from silver."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

from medallion_ops.dag_defaults import DAG_RULES, HISTORY, NO_BACKFILL, RETRIES, RUN, TAG, WAIT
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.rebuild.triggered_run import TriggeredRunOperator
from medallion_ops.spark.jobs import rebuild_job
from medallion_ops.spark.operators import SparkJobOperator

DOC = """
### Makes silver from bronze again, then gold from silver

1. `stop_stream` writes a stop request; the driver ends after its micro-batch.
2. `wait_for_stream` waits until no one holds silver.
3. `rebuild_silver` replaces the content of silver by one commit; the state before it stays readable. A
   silver or quarantine that is gone comes back by that commit, a ledger is made from bronze first.
4. `start_stream` removes the request, whatever happened: the stream goes on where it stopped.
5. `report_silver` shows how silver and quarantine were different.
6. `rebuild_gold` is a run of `{dataset}_gold`: it sees the rebuild, and computes all of gold. `report_gold`
   shows what that changed, what the stream brought since the last hour included.

- **as-judged** keeps the verdicts that bronze holds: silver must come out the same. If it does not, it is
  mended, and `report_silver` fails and names what was different. Of a version that bronze accepted twice
  (the first could not be made by the contract of its day, the replay could) the later one stays in silver.
- **judge-again** applies today's contract to every record, and reports each difference by its cause.

**When it fails** silver is either the old or the new one, never between, and the stream runs again. Trigger
a new run (an old one that is cleared after the stream has written is refused); if `wait_for_stream` timed
out, a micro-batch took longer than 30 minutes. Should `start_stream` itself have failed,
`python -m medallion_ops.control start {dataset}` starts the stream.
"""


def rebuild_dag(dataset: str) -> None:
    """The DAG that rebuilds silver and gold of a dataset."""
    with DAG(
        **DAG_RULES,
        dag_id=f"{dataset}_rebuild",
        description="Silver from bronze again by one commit, then all of gold through its gate",
        schedule=None,
        # `start_stream` must not be skipped: a run that takes too long does so after it.
        dagrun_timeout=RUN + (1 + RETRIES) * (HISTORY + WAIT),
        is_paused_upon_creation=False,  # it runs only when someone asks
        tags=[TAG, dataset, "recovery"],
        doc_md=DOC.format(dataset=dataset)
        + NO_BACKFILL.format(instead="A rebuild is one run over all that bronze holds."),
        params={
            "mode": Param(
                "as-judged",
                type="string",
                enum=["as-judged", "judge-again"],
                description="as-judged: the verdicts in bronze stand; judge-again: today's contract decides.",
            )
        },
    ):

        @task
        def stop_stream(asked_by: str) -> None:
            """Ask the stream to end, and to stay away."""
            from medallion_ops.rebuild.tasks import stop_stream

            stop_stream(dataset, asked_by)

        @task(execution_timeout=WAIT)
        def wait_for_stream() -> float:
            """Wait until no one writes silver; gives the seconds it took."""
            from medallion_ops.rebuild.tasks import wait_for_stream

            return wait_for_stream(dataset)

        rebuild_silver = SparkJobOperator(
            task_id="rebuild_silver",
            dataset=dataset,
            execution_timeout=HISTORY,
            job=lambda settings, context: rebuild_job(
                settings, dataset, mode=context["params"]["mode"], run_id=context["run_id"]
            ),
        )

        @task
        def start_stream(asked_by: str) -> bool:
            """Take this run's stop request back."""
            from medallion_ops.rebuild.tasks import start_stream

            return start_stream(dataset, asked_by)

        rebuild_gold = TriggeredRunOperator(
            task_id="rebuild_gold",
            trigger_dag_id=f"{dataset}_gold",
            wait_for_completion=True,
            poke_interval=10,
            deferrable=True,
            fail_when_dag_is_paused=True,
        )

        @task
        def report_silver(silver: Any) -> dict[str, Any]:
            """Log and give what the rebuild changed in silver; fails if it should not have changed."""
            from medallion_ops.rebuild.tasks import report_silver

            return report_silver(silver)

        @task
        def report_gold() -> dict[str, Any]:
            """Log and give what the rebuild changed in gold."""
            from medallion_ops.rebuild.tasks import report_gold

            return report_gold(dataset)

        stop = stop_stream("{{ run_id }}")
        start = start_stream("{{ run_id }}")
        stop >> wait_for_stream() >> rebuild_silver >> start
        stop.as_setup() >> start.as_teardown(on_failure_fail_dagrun=True)
        report_silver(rebuild_silver.output)
        rebuild_silver >> rebuild_gold >> report_gold()


for name in datasets_that_run():
    rebuild_dag(name)
