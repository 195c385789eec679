"""Deletes what the gate and the publications have noted about themselves, once it is old.

Crash points: it is one transaction. What a later run decides by is never old: the last publication with its
set, sets after it, sets that rows in force were rejected from, and episodes that are open.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from medallion_ops.keep_settings import KeepSettings
from medallion_store.postgres import gold_connection
from medallion_store.secret import Secret

_OLD_SETS = (
    "SELECT m.set_id FROM staging.manifests AS m WHERE m.dataset = %(dataset)s AND m.created_at < {before} "
    "AND m.set_id < (SELECT max(p.set_id) FROM gold.publications AS p WHERE p.dataset = m.dataset)"
)
_OF_AUDIT, _OF_PUBLICATIONS = _OLD_SETS.format(before="%(audit)s"), _OLD_SETS.format(before="%(publication)s")
_REJECTED_FROM = "SELECT r.set_id FROM audit.rejected_rows AS r WHERE r.set_id IS NOT NULL"

_DELETES = {
    "findings": f"DELETE FROM audit.gate_results WHERE set_id IN ({_OF_AUDIT})",  # noqa: S608 - constants
    "profiles": f"DELETE FROM audit.gate_profiles WHERE set_id IN ({_OF_AUDIT})",  # noqa: S608 - constants
    "questions": f"DELETE FROM audit.decisions WHERE set_id IN ({_OF_AUDIT}) "  # noqa: S608 - constants
    f"AND set_id NOT IN ({_REJECTED_FROM} AND r.released_at IS NULL)",
    "episodes": "DELETE FROM audit.gate_episodes WHERE dataset = %(dataset)s AND closed_at < %(audit)s",
    "rejections": "DELETE FROM audit.rejected_rows WHERE dataset = %(dataset)s "
    "AND released_at < %(publication)s",
    "publications": f"DELETE FROM gold.publications WHERE dataset = %(dataset)s "  # noqa: S608 - constants
    f"AND set_id IN ({_OF_PUBLICATIONS})",
    # A set that was not published is of no use once its findings are gone.
    "sets": f"DELETE FROM staging.manifests WHERE set_id IN ({_OF_AUDIT}) "  # noqa: S608 - constants
    f"AND set_id NOT IN ({_REJECTED_FROM}) AND set_id NOT IN (SELECT p.set_id FROM gold.publications AS p)",
    "exclusions": "DELETE FROM staging.exclusions AS e WHERE NOT EXISTS "
    "(SELECT FROM staging.manifests AS m WHERE m.exclusion_id = e.exclusion_id)",
}
"""In this order: what refers to a set goes before the set."""


def delete_old_rows(dsn: Secret, dataset: str, keep: KeepSettings, now: datetime) -> Mapping[str, int]:
    """Delete what is older than the settings say; gives the number of rows by what they are.

    Args:
        dsn: Login of the writer.
        dataset: The dataset.
        keep: How long what is kept.
        now: The present time, UTC.
    """
    values = {
        "dataset": dataset,
        "audit": now - timedelta(days=keep.audit_days),
        "publication": now - timedelta(days=keep.publication_days),
    }
    with gold_connection(dsn) as connection:
        # Compiling these statements would take longer than running them.
        connection.execute("SET LOCAL jit = off")
        return {what: connection.execute(query, values).rowcount for what, query in _DELETES.items()}
