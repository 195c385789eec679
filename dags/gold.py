"""<dataset>_gold: silver's increment to gold, through the gate, once an hour."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from airflow.providers.standard.operators.python import (
    BranchPythonOperator,
    PythonOperator,
    ShortCircuitOperator,
)
from airflow.sdk import DAG, Param, TriggerRule

from medallion_ops.dag_defaults import DAG_RULES, JOB, NO_BACKFILL, RUN, TAG
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.gate.decision import Option
from medallion_ops.gate.question import GateDecisionOperator
from medallion_ops.gold import tasks as gold
from medallion_ops.gold.audit_task import audit as audit_set_of_run
from medallion_ops.gold.links import DECIDE
from medallion_ops.gold.retrigger import RetriggerRunOperator
from medallion_ops.spark.jobs import SparkJob, gold_job
from medallion_ops.spark.operators import SparkJobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from medallion_ops.settings import Settings

DOC = """
### Publishes gold: write, audit, publish

**Healthy**: a run an hour, green. With nothing new in silver it ends after `check_new`, within seconds.

1. `check_new` brings the gold database forward and asks Delta's log whether there is anything to do.
2. `write` (Spark) computes candidate rows for everything the increment touches, into `staging` tables.
3. `audit` judges them with Great Expectations; `notify` mails what is new about failed expectations.
4. `publish` makes gold equal to the candidates in one transaction. Readers see the old state until then.

**When the gate fails** gold stays as it is. The mail says what failed; the task `decide` waits 45 minutes for
a person (*Required Actions* in the UI):

- **keep blocked** (also when nobody answers): the run ends red; the next starts from the last publication.
- **publish without the failing rows**: they go to `audit.rejected_rows`, the set is written and audited again
  without them, and must pass. Offered only where every failed critical expectation is about rows.
- **publish anyway**: the set is published as it is; who said so is in `gold.publications`.

An answer counts only for the set shown. Only the first of several runs that fail the same expectations asks;
trigger a run with the parameter *ask* to be asked again. *Publish anyway* is not offered for what gold cannot
store: a key that is there twice, or a required value that is missing.

**When `check_new` refuses**: the stream *runs release …* of contracts or code that Airflow does not run:
`make roll-out`. The contracts *change what others rely on*: `make plan` says what happens; undo the
change, or accept each part of it by its name.

**When a task fails** its mail says why. Every task can be cleared and run again. When staging was lost
(Postgres crashed in between), `retrigger_run` starts another run by itself; there is nothing to do.
"""


def write_job(dataset: str, settings: Settings, context: Context) -> SparkJob:
    """The Spark job of this run; a retry stages a new candidate set."""
    return gold_job(settings, dataset, run_id=context["run_id"], full=context["params"]["full"])


def gold_dag(dataset: str) -> None:
    """The hourly DAG of a dataset."""
    with DAG(
        **DAG_RULES,
        dag_id=f"{dataset}_gold",
        description="Silver to gold once an hour: write candidates, audit them, publish in one transaction",
        schedule="@hourly",
        dagrun_timeout=RUN,
        tags=[TAG, dataset, "gold"],
        doc_md=DOC
        + NO_BACKFILL.format(
            instead="Trigger a run with the parameter *full* to compute all of gold from all of silver."
        ),
        params={
            "full": Param(
                False,
                type="boolean",
                description="Compute all of gold from scratch from all of silver, whatever the increment is.",
            ),
            "ask": Param(
                False,
                type="boolean",
                description="Ask what to do if the checks fail, even if an earlier run asked about the same.",
            ),
        },
    ):
        of_dataset, write_set = {"dataset": dataset}, partial(write_job, dataset)

        check_new = ShortCircuitOperator(
            task_id="check_new", python_callable=gold.has_pending_changes, op_kwargs=of_dataset
        )
        write = SparkJobOperator(task_id="write", dataset=dataset, job=write_set, execution_timeout=JOB)
        audit = PythonOperator(
            task_id="audit",
            python_callable=audit_set_of_run,
            op_kwargs={**of_dataset, "written_by": "write"},
            execution_timeout=JOB,
        )
        notify = PythonOperator(task_id="notify", python_callable=gold.notify, op_kwargs=of_dataset)
        verdict = BranchPythonOperator(
            task_id="verdict",
            python_callable=gold.branch_on_gate_result,
            op_kwargs=of_dataset | {"passed": "publish", "failed": DECIDE, "blocked": "keep_blocked"},
        )
        decide = GateDecisionOperator(
            task_id=DECIDE,
            dataset=dataset,
            then={
                Option.KEEP_BLOCKED: "keep_blocked",
                Option.WITHOUT_FAILING_ROWS: "exclude_failing_rows",
                Option.ANYWAY: "publish",
            },
        )
        keep_blocked = PythonOperator(
            task_id="keep_blocked",
            python_callable=gold.keep_blocked,
            op_kwargs=of_dataset,
            # Either the answer leads here, or the verdict, where there is nothing to ask.
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
            # The episode's mail has said so, once for all its runs.
            on_failure_callback=[],
        )
        exclude_failing_rows = PythonOperator(
            task_id="exclude_failing_rows", python_callable=gold.exclude_failing_rows, op_kwargs=of_dataset
        )
        restage = SparkJobOperator(task_id="restage", dataset=dataset, job=write_set, execution_timeout=JOB)
        re_audit = PythonOperator(
            task_id="re_audit",
            python_callable=audit_set_of_run,
            op_kwargs={**of_dataset, "written_by": "restage", "must_pass": True},
            execution_timeout=JOB,
        )
        publish = PythonOperator(
            task_id="publish",
            python_callable=gold.publish,
            op_kwargs=of_dataset,
            execution_timeout=JOB,
            # Three ways lead here, and only one of them is taken.
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        )
        report = PythonOperator(task_id="report", python_callable=gold.report, op_kwargs=of_dataset)
        retrigger_run = RetriggerRunOperator(task_id="retrigger_run", dataset=dataset)

        check_new >> write >> audit >> [notify, verdict]
        verdict >> [publish, decide, keep_blocked]
        decide >> [publish, keep_blocked, exclude_failing_rows]
        exclude_failing_rows >> restage >> re_audit >> publish >> report
        [audit, exclude_failing_rows, re_audit, publish] >> retrigger_run


for name in datasets_that_run():
    gold_dag(name)
