"""Write the candidate rows of gold into staging tables of Postgres, from what is new in silver."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from contextlib import ExitStack

from pyspark.sql import SparkSession

from medallion_contracts.errors import MedallionError
from medallion_contracts.loader import load_dataset
from medallion_spark.gold.stage_candidates import Request, stage_candidates
from medallion_spark.gold.transforms import transforms_of
from medallion_spark.session.executor_watch import ended_without_executors
from medallion_spark.session.lake_access import add_lake_arguments, lake_access
from medallion_spark.session.spark_session import IN_DRIVER, open_session
from medallion_store.parent_process import end_with_parent
from medallion_store.refresh_plan import Plan
from medallion_store.release import add_release_argument, refuse_other_release


def main() -> int:
    """Write one set; the last line of the output is what was written as JSON."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__} Gold itself is not changed: the gate checks the set, then it is published. "
        "With nothing new, nothing is written. The login to Postgres is MEDALLION_GOLD_DSN in the file that "
        "MEDALLION_SECRETS_FILE names."
    )
    add_lake_arguments(parser)
    add_release_argument(parser)
    group = parser.add_argument_group("gold")
    group.add_argument("--run-id", required=True, help="name of this run, by which its set is found again")
    group.add_argument(
        "--churn-source",
        help="table of churn outcomes: a CSV file, the path of a Delta table, or "
        "jdbc:postgresql://host/database?table=schema.name (login in MEDALLION_CHURN_USERNAME and "
        "MEDALLION_CHURN_PASSWORD of the secrets file)",
    )
    group.add_argument(
        "--full", action="store_true", help="compute all of gold from all of silver, whatever is new"
    )
    group.add_argument(
        "--local-rows",
        type=int,
        default=0,
        help="up to so many rows of silver the work is done in this process' JVM, whatever the master is "
        "(default: none)",
    )
    arguments = parser.parse_args()
    end_with_parent()  # of spark-submit: a killed task must leave no driver beside its next try
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    try:
        refuse_other_release(arguments.release)
        dataset, lake = load_dataset(arguments.dataset), lake_access(arguments)
        transforms_of(dataset)  # what is wrong with its module is said before anything is started
        request = Request(
            dataset,
            lake,
            arguments.run_id,
            arguments.churn_source,
            full=arguments.full,
            few_rows=arguments.local_rows,
        )
        with ExitStack() as stack:

            def session(plan: Plan) -> SparkSession:
                stack.close()  # a session before, if there is one
                is_small = plan.rows is not None and plan.rows <= arguments.local_rows
                spark = open_session(f"{arguments.dataset}_gold", lake, IN_DRIVER if is_small else None)
                stack.callback(spark.stop)
                stack.enter_context(ended_without_executors(spark))
                return spark

            report = stage_candidates(session, request)
    except MedallionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report.as_json()))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    logging.shutdown()
    # deltalake's threads may abort an interpreter that shuts down in order, after all the work is done.
    os._exit(code)
