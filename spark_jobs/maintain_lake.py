"""Compact the lake tables of a dataset and delete files that nobody needs any more."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from datetime import UTC, datetime, timedelta

from medallion_contracts.errors import MedallionError, ParameterError
from medallion_spark.maintenance.maintain import maintain_lake
from medallion_spark.session.lake_access import add_lake_arguments, lake_access
from medallion_store.lake_paths import LakePaths
from medallion_store.parent_process import end_with_parent
from medallion_store.release import add_release_argument, refuse_other_release

SHORTEST_RETENTION_HOURS = 24


def main() -> int:
    """Maintain all tables; the last line of the output is their numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_lake_arguments(parser)
    add_release_argument(parser)
    parser.add_argument(
        "--retention-hours",
        type=float,
        default=168.0,
        help="files that are no longer part of a table are deleted after this long (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-from-version",
        type=int,
        help="silver version that gold published last: what is newer is kept, however old it is",
    )
    arguments = parser.parse_args()
    end_with_parent()  # of spark-submit: a killed task must leave no driver beside its next try
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        refuse_other_release(arguments.release)
        if arguments.retention_hours < SHORTEST_RETENTION_HOURS:
            raise ParameterError(
                "the lake cannot be maintained",
                [
                    f"--retention-hours={arguments.retention_hours}: at least {SHORTEST_RETENTION_HOURS}, "
                    "as running queries still read old files"
                ],
            )
        lake = lake_access(arguments)
        done = maintain_lake(
            lake,
            LakePaths(lake.uri, arguments.dataset),
            now=datetime.now(UTC),
            retention=timedelta(hours=arguments.retention_hours),
            keep_from_version=arguments.keep_from_version,
        )
    except MedallionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"tables": [dataclasses.asdict(upkeep) for upkeep in done]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
