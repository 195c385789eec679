"""lake_maintenance: keeps the lake's files, Postgres' tables, logs and folders within limits."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, TaskGroup, task

from medallion_ops.dag_defaults import DAG_RULES, HISTORY, JOB, NO_BACKFILL, RUN, TAG
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.spark.jobs import maintenance_job
from medallion_ops.spark.operators import SparkJobOperator

DOC = """
### Compacts the lake's tables, and removes what is no longer needed

For each dataset, in a group of tasks of its name:

- `optimize_and_vacuum` runs beside the stream: OPTIMIZE of partitions that are no longer written, then
  VACUUM. It never removes a version of silver that gold has not been published from.
- `clean_staging` drops the staging tables of published sets. A set that waits for a decision stays.
- `clean_audit` deletes old findings, questions, publications and sets; `clean_files` old task logs, Data
  Docs and the temporary folders of jobs that were killed.

`clean_airflow`, once for all, deletes old rows of Airflow's own tables. For how long what is kept is a
setting: `MEDALLION_KEEP_..._DAYS`.

It runs once a day without anybody's doing; the first time in the night after the installation.

**When it fails** nothing is broken: queries only read more, smaller files. The next night does the rest. A
conflict with the stream is retried by the job itself; one that stays is named in the mail.
"""


@task
def published_version(dataset: str) -> int | None:
    """The silver version that gold was last published from."""
    from medallion_ops.gold.staging_cleanup import published_silver_version
    from medallion_ops.gold_settings import GoldSettings

    return published_silver_version(dataset, GoldSettings.from_environment())


@task
def clean_staging(dataset: str) -> list[int]:
    """Drop the staging tables of published sets."""
    from medallion_ops.gold.staging_cleanup import drop_published_sets
    from medallion_ops.gold_settings import GoldSettings

    return drop_published_sets(dataset, GoldSettings.from_environment())


@task
def clean_audit(dataset: str) -> dict[str, int]:
    """Delete old rows about gold."""
    from medallion_ops.upkeep import tasks

    return tasks.clean_audit(dataset)


@task
def clean_files(dataset: str) -> dict[str, int]:
    """Delete old logs, Data Docs, and folders of jobs that were killed."""
    from medallion_ops.upkeep import tasks

    return tasks.clean_files(dataset)


@task(execution_timeout=JOB)
def clean_airflow() -> None:
    """Delete old rows of Airflow's own tables."""
    from medallion_ops.upkeep import tasks

    tasks.clean_airflow()


def maintain(dataset: str) -> None:
    """The tasks of one dataset: what fails here holds up no other."""
    with TaskGroup(dataset):
        optimize_and_vacuum = SparkJobOperator(
            task_id="optimize_and_vacuum",
            dataset=dataset,
            execution_timeout=HISTORY,
            job=lambda settings, context: maintenance_job(
                settings,
                dataset,
                keep_from_version=context["ti"].xcom_pull(task_ids=f"{dataset}.published_version"),
            ),
        )
        published_version(dataset) >> optimize_and_vacuum >> clean_staging(dataset)
        clean_audit(dataset)
        clean_files(dataset)


with DAG(
    # Without a start the timetable alone says when the first run is.
    **(DAG_RULES | {"start_date": None}),
    dag_id="lake_maintenance",
    description="OPTIMIZE and VACUUM of the lake, clean-up of staging, audit rows, logs and Airflow's tables",
    # At night, and not at once on a new machine, where the first streams and the first gold are under way.
    schedule=CronTriggerTimetable("30 2 * * *", timezone="UTC", run_immediately=timedelta(0)),
    is_paused_upon_creation=False,
    dagrun_timeout=RUN,
    tags=[TAG, "maintenance"],
    doc_md=DOC + NO_BACKFILL.format(instead="A run maintains all there is."),
):
    for name in datasets_that_run():
        maintain(name)
    clean_airflow()
