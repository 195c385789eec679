"""<dataset>_streaming: keeps the streaming job of a dataset running on the cluster."""

from __future__ import annotations

from airflow.sdk import DAG

from medallion_ops.dag_defaults import BY_PROGRESS, DAG_RULES, NO_BACKFILL, TAG
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.spark.operators import StreamDriverOperator

DOC = """
### Keeps the stream running: Kafka to bronze, silver, quarantine and ledger

**Healthy**: one run is there all the time, its task `stream` deferred; the heartbeat in the lake
(`ledger/{dataset}_heartbeat.json`) is younger than a minute, its `idle_seconds` small. The run may take for
ever as long as the stream gets on: its limit is progress, not time.

The task submits a supervised driver to the Spark cluster and waits for it without a worker slot. The driver
outlives Airflow: after a restart, a retry, a cleared or a failed task, the next try connects to the same
driver.

**Stopping the stream**: `python -m medallion_ops.control stop {dataset}` writes a stop request; the driver
ends after its micro-batch, and nothing new is submitted until
`python -m medallion_ops.control start {dataset}`. A request that stands for hours is named in this task's
log. `stop` followed at once by `start` ends the driver and lets another one be submitted; `show` names both.
Pausing this DAG or marking the task failed does not stop the driver.

**When it fails** the mail says why, and the next run submits a new driver by itself, after a pause that grows
while drivers keep ending soon.

- *Gave up at batch N*: three attempts at one micro-batch failed; the reason is in
  `control/{dataset}/failure.json`. The next driver takes the same batch again.
- *Ended as FAILED or KILLED*: someone stopped it, or the cluster did; see `stderr` in the driver's folder on
  its worker.
- *Cannot start*: the mail says what a person has to do. When the checkpoint is lost
  (`checkpoints/{dataset}_stream` in the lake), `python -m medallion_ops.control recover {dataset}` lets the
  next driver go on from the ledger, with nothing lost or twice.
- *Ended itself and was started again: batch N hung*: no Spark task of it finished for
  `MEDALLION_BATCH_HANG_MINUTES`. The same driver goes on; the third time it gives up as above.
- *Gave no heartbeat* or *has not got on*: the driver was frozen, or hung and could not end itself. It was
  ended; its `stderr` says what it was doing.
"""


def streaming_dag(dataset: str) -> None:
    """The DAG that keeps the stream of a dataset running."""
    with DAG(
        **DAG_RULES,
        dag_id=f"{dataset}_streaming",
        description="Keeps the streaming job on the cluster: Kafka to bronze, silver, quarantine, ledger",
        schedule="@continuous",
        dagrun_timeout=BY_PROGRESS,
        tags=[TAG, dataset, "stream"],
        doc_md=DOC.format(dataset=dataset)
        + NO_BACKFILL.format(instead="The stream reads what Kafka holds; older records are sent again."),
    ):
        StreamDriverOperator(
            task_id="stream",
            dataset=dataset,
            # More than a master's restart takes. An ended driver is not retried but reported at once.
            retries=10,
        )


for name in datasets_that_run():
    streaming_dag(name)
