"""<dataset>_replay: gives quarantined records another try."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, PokeReturnValue, get_current_context, task

from medallion_ops.dag_defaults import DAG_RULES, NO_BACKFILL, RUN, TAG, WAIT
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.replay import tasks as replay

REASON = r"^(late|malformed|future|conflict|contract_changed|(missing|type|value|unknown):[A-Za-z0-9_]+)$"
DOC = """
### Gives quarantined records another try, after the contract or the source was mended

1. `count_rows` counts the open rows that *reasons*, *from* and *to* choose, by reason.
2. `skip_unless_rows_to_send` ends a dry run here, and a run that found no row.
3. `send_rows` sends their raw bytes to the replay topic of `{dataset}`, with their coordinates in headers.
4. `await_verdicts` waits until the stream has judged all of them by today's contract, and gives how many are
   accepted, were in silver already, and are still rejected, and why.

A row is open until a replay of it was accepted or found to be in silver already; so a second run never sends
an accepted row again. Replayed records are never late.

**When it fails**: a row that was not sent is still open, so run it again. When `await_verdicts` times out the
stream does not run, or is far behind; its verdicts come nevertheless, and a dry run then counts less.
"""


def replay_dag(dataset: str) -> None:
    """The DAG that replays quarantined records of a dataset."""
    with DAG(
        **DAG_RULES,
        dag_id=f"{dataset}_replay",
        description="Sends quarantined records to the stream again, and reports its verdicts",
        schedule=None,
        dagrun_timeout=RUN,
        is_paused_upon_creation=False,  # it runs only when somebody asks
        tags=[TAG, dataset, "recovery"],
        doc_md=DOC.format(dataset=dataset)
        + NO_BACKFILL.format(instead="*from* and *to* choose the records of some time."),
        params={
            "reasons": Param(
                [],
                type="array",
                items={"type": "string", "pattern": REASON},
                uniqueItems=True,
                description="Rows with any of these reasons, such as malformed, conflict, late; empty: all.",
            ),
            "from": Param(
                None,
                type=["null", "string"],
                format="date-time",
                description="Only records that Kafka got at this time or later (UTC without an offset).",
            ),
            "to": Param(
                None,
                type=["null", "string"],
                format="date-time",
                description="Only records that Kafka got before this time.",
            ),
            "dry_run": Param(True, type="boolean", description="Only count, send nothing."),
        },
    ):

        @task
        def count_rows() -> dict[str, int]:
            """Count the open rows, by reason."""
            return replay.count_rows(dataset, get_current_context()["params"])

        @task.short_circuit
        def skip_unless_rows_to_send(counts: Any) -> bool:
            """Whether there is something to send."""
            return bool(counts["rows"]) and not get_current_context()["params"]["dry_run"]

        @task
        def send_rows() -> dict[str, Any]:
            """Send the open rows to the replay topic."""
            context = get_current_context()
            return replay.send_rows(dataset, context["params"], context["run_id"], context["ti"].try_number)

        @task.sensor(poke_interval=10, timeout=WAIT.total_seconds(), mode="reschedule")
        def await_verdicts(sent: Any) -> PokeReturnValue:
            """Wait until the stream has judged all rows sent."""
            run = get_current_context()["dag_run"]
            result = replay.verdicts(dataset, run.run_id, sent, run.run_after)
            return PokeReturnValue(is_done=result is not None, xcom_value=result)

        sent = send_rows()
        skip_unless_rows_to_send(count_rows()) >> sent >> await_verdicts(sent)


for name in datasets_that_run():
    replay_dag(name)
