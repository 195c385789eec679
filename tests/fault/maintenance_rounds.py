"""Maintains a lake so many times, as the job does: `maintenance_rounds.py LAKE ROUNDS RETENTION_SECONDS`.

Nothing is hot here and the retention is short, so that each round rewrites and deletes what the stream has
just written. Prints what each round did as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from medallion_contracts.lake import LakePaths
from medallion_spark.lake_access import LakeAccess
from medallion_spark.maintenance.run import maintain_lake
from medallion_spark.session import open_session


def main() -> None:
    """Do the rounds."""
    lake, rounds, retention = sys.argv[1], int(sys.argv[2]), timedelta(seconds=float(sys.argv[3]))
    spark = open_session("maintenance", LakeAccess(lake))
    for _ in range(rounds):
        # Two days ahead: no partition is hot, neither today's nor this hour's.
        now = datetime.now(UTC) + timedelta(days=2)
        done = maintain_lake(
            spark, LakePaths(lake, "customers"), now=now, retention=retention, keep_from_version=None
        )
        print(json.dumps([asdict(upkeep) for upkeep in done]), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
