"""<dataset>_producer: sends events of a dataset to Kafka."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from medallion_ops.dag_defaults import BY_PROGRESS, DAG_RULES, NO_BACKFILL, TAG
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.producer.mappings import sources_of
from medallion_ops.producer.parameters import Source
from medallion_ops.producer.task import ProducerOperator

DOC = """
### Sends events to the topic of `{dataset}`

Trigger it with parameters: where events come from, how many, how fast, and how many broken, duplicated and
late ones beside them. The task checks the topic, sends with acknowledgement of all replicas, logs its
progress every 5 seconds and ends with the counts sent / acked / failed, also as its XCom.

- **telco** maps the public Telco table (a CSV, parameter *file*) to events. Files are taken from the
  folder of the setting `MEDALLION_PRODUCER_DIR` only, and named relative to it.
- **csv**, **jsonl** send a file with the event's field names as it is.
- **synthetic** makes events up, where the dataset has such a source.

With *loop*, or **synthetic** without *count*, the run has no end: mark it failed to stop it; everything under
way is acknowledged before it ends.

**When it fails** nothing is lost: the mail says whether the parameters, the source or the broker are at
fault. A retry sends the same events again, and the stream finds those that it has already.
"""


def _fault(what: str) -> Param:
    how = "A whole number is a number of records; a fraction such as 0.01 is a part of the events."
    return Param(0, type="number", minimum=0, description=f"{what} {how}")


def producer_dag(dataset: str) -> None:
    """The DAG that sends events of a dataset."""
    sources = sources_of(dataset)
    with DAG(
        **DAG_RULES,
        dag_id=f"{dataset}_producer",
        description="Sends events to Kafka: the Telco table, a file, or made-up events",
        schedule=None,
        dagrun_timeout=BY_PROGRESS,
        is_paused_upon_creation=False,  # it runs only when somebody asks
        tags=[TAG, dataset, "producer"],
        doc_md=DOC.format(dataset=dataset)
        + NO_BACKFILL.format(instead="Trigger a run with *file*, or with *as_of* for a time of yours."),
        params={
            "source": Param(
                Source.SYNTHETIC.value if Source.SYNTHETIC in sources else sources[0].value,
                type="string",
                enum=[source.value for source in sources],
                description="Where events come from.",
            ),
            "file": Param(
                None,
                type=["null", "string"],
                minLength=1,
                description="The file of telco, csv or jsonl: a path in the worker's MEDALLION_PRODUCER_DIR.",
            ),
            "count": Param(
                1000,
                type=["null", "integer"],
                minimum=1,
                description="Events to send; empty for the whole file, or without end for synthetic.",
            ),
            "rate": Param(
                None,
                type=["null", "number"],
                exclusiveMinimum=0,
                description="Records per second at most; empty for as fast as possible.",
            ),
            "loop": Param(False, type="boolean", description="Begin a file again at its end, until count."),
            "seed": Param(0, type="integer", description="The same seed makes the same customers and names."),
            "customers": Param(
                10_000, type="integer", minimum=1, description="How many customers synthetic has."
            ),
            "as_of": Param(
                None,
                type=["null", "string"],
                format="date-time",
                description="Date the events over the five minutes before this; empty: before the run.",
            ),
            "broken": _fault("Records that the contract rejects."),
            "duplicated": _fault("Exact repeats of events."),
            "late": _fault("Versions older than the watermark allows."),
        },
    ):
        ProducerOperator(task_id="produce", dataset=dataset, execution_timeout=BY_PROGRESS)


for name in datasets_that_run():
    producer_dag(name)
