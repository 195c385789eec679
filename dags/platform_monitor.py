"""platform_monitor: looks at every dataset every two minutes, and notifies people of incidents."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task

from medallion_ops.dag_defaults import DAG_RULES, DEFAULT_ARGS, NO_BACKFILL, STEP, TAG
from medallion_ops.monitor.settings import POOL

DOC = """
### Watches the platform, and mails when something is wrong or over again

Every two minutes it looks at consumer lag, heartbeat and age of the micro-batch, ledger, quarantine,
freshness of silver and gold, runs that hang, questions that wait, paused DAGs, disks and certificates, and
holds them against the service levels of the contracts (`slaProperties`). What is wrong becomes an
**incident**: one mail when it opens, one a day while it stays open, one when it is over. `audit.incidents`
keeps them.

What to do about each kind of incident: [the runbook](/medallion/runbook), where its mail leads, too.

- `python -m medallion_ops.incidents list`: what is open; `acknowledge 7` ends its reminders,
  `mute 7 --hours 4` its mails, `window --hours 2 --reason "..."` holds back all mails during planned work.
- `python -m medallion_ops.monitor`: one look by hand.

It has a slot of its own (pool `monitor`), so it runs while every other slot is taken. **When it fails** data
flows on, but problems may go unnoticed: the watcher outside Airflow (`python -m medallion_ops.watch`) mails
that it is silent; see the task's log.
"""

# A monitor that fails fails every two minutes: the watcher outside Airflow notifies people, once.
QUIET = {"retries": 1, "retry_delay": timedelta(seconds=10), "pool": POOL, "on_failure_callback": []}

with DAG(
    **DAG_RULES | {"default_args": DEFAULT_ARGS | QUIET, "on_failure_callback": []},
    dag_id="platform_monitor",
    description="Looks at the platform every two minutes, and notifies people of incidents",
    schedule=timedelta(minutes=2),
    dagrun_timeout=STEP,
    # Whoever installs the platform wants to know of its troubles, without asking for it.
    is_paused_upon_creation=False,
    tags=[TAG, "operations"],
    doc_md=DOC + NO_BACKFILL.format(instead="The next look is two minutes away."),
):

    @task(execution_timeout=timedelta(seconds=90))
    def look() -> dict[str, object]:
        """Observe, judge, record, notify; gives the codes of what is wrong."""
        from medallion_ops.monitor.look import describe
        from medallion_ops.monitor.look import look as look_once
        from medallion_ops.settings import Settings

        return describe(look_once(Settings.from_environment()))

    look()
