"""Deletes old rows of Airflow's own tables, by Airflow's own command."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from datetime import datetime

from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.processes import ending_with_parent
from medallion_store.secret import Secret

log = logging.getLogger(__name__)
_BATCH = 10_000
"""Rows of one transaction: nobody waits long for a lock."""
_TABLE = "Beginning cleanup of table"


def clean_airflow_tables(dsn: Secret, before: datetime) -> None:
    """Delete what ended before a time; the last run of each DAG stays, so that its schedule goes on.

    A task may not use Airflow's database, hence the command, with a login of its own. Killed halfway, it has
    deleted some batches; the next run deletes the rest.

    Args:
        dsn: Of Airflow's tables.
        before: UTC.

    Raises:
        ServiceUnavailable: The database does not answer, or a table could not be cleaned.
    """
    # The command knows no driver by the plain name.
    driver = dsn.reveal().replace("postgresql://", "postgresql+psycopg2://", 1)
    command = [
        *(sys.executable, "-m", "airflow", "db", "clean", "--yes", "--skip-archive"),
        *("--clean-before-timestamp", before.isoformat(), "--batch-size", str(_BATCH)),
        "--error-on-cleanup-failure",
    ]
    done = subprocess.run(
        ending_with_parent(command),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": driver},
    )
    if done.returncode:
        # What it says may quote the login or a row.
        raise ServiceUnavailable(
            f"airflow db clean ended with {done.returncode}: check that the database answers and "
            "MEDALLION_AIRFLOW_DSN, or run `airflow db clean` by hand to see why"
        )
