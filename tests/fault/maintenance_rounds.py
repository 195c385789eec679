"""Maintains a lake so many times, as the job does: `maintenance_rounds.py LAKE ROUNDS`.

Nothing is hot here, and before each round what is older than a micro-batch takes is made to look older than
the retention, so that each round rewrites and deletes what the stream has just written. Prints one line of
JSON for each round: what it did.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from deltalake import DeltaTable

from lake_age import age
from medallion_spark.maintenance.maintain import maintain_lake
from medallion_spark.session.lake_access import LakeAccess
from medallion_store.lake_paths import LakePaths

OLD_ENOUGH = timedelta(seconds=30)
"""Longer than a micro-batch reads the version it has pinned."""

PAUSE_SECONDS = 8


def main() -> None:
    """Do the rounds."""
    lake, rounds = sys.argv[1], int(sys.argv[2])
    paths = LakePaths(lake, "customers")
    for _ in range(rounds):
        time.sleep(PAUSE_SECONDS)
        for path in (paths.bronze, paths.silver, paths.quarantine, paths.ledger, paths.progress):
            if DeltaTable.is_deltatable(path):
                age(path, timedelta(days=2), OLD_ENOUGH)
        # Two days ahead: no partition is hot, neither today's nor this hour's.
        now = datetime.now(UTC) + timedelta(days=2)
        done = maintain_lake(
            LakeAccess(lake), paths, now=now, retention=timedelta(days=1), keep_from_version=None
        )
        print(json.dumps([asdict(upkeep) for upkeep in done]), flush=True)


if __name__ == "__main__":
    main()
