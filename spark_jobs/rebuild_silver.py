"""Make silver and quarantine from bronze again, and replace their content by one commit each.

The stream must not run: write its stop request first (the DAG customers_rebuild does).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys

from medallion_contracts.errors import MedallionError
from medallion_contracts.loader import load_dataset
from medallion_spark.rebuild.rebuild import AS_JUDGED, JUDGE_AGAIN, Rebuild, as_json
from medallion_spark.session.executor_watch import ended_without_executors
from medallion_spark.session.lake_access import add_lake_arguments, lake_access
from medallion_spark.session.spark_session import open_session
from medallion_spark.stream.options import StreamOptions, add_verdict_arguments
from medallion_store.parent_process import end_with_parent
from medallion_store.release import add_release_argument, refuse_other_release


def main() -> int:
    """Rebuild; the last line of the output is what it did, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_lake_arguments(parser)
    add_release_argument(parser)
    parser.add_argument(
        "--mode",
        required=True,
        choices=(AS_JUDGED, JUDGE_AGAIN),
        help=f"{AS_JUDGED}: the verdicts in bronze stand; {JUDGE_AGAIN}: today's contract decides each again",
    )
    parser.add_argument("--run-id", required=True, help="the same id again replaces silver only once")
    add_verdict_arguments(parser.add_argument_group(f"the stream's settings, for {JUDGE_AGAIN}"))
    arguments = parser.parse_args()
    end_with_parent()  # of spark-submit: a killed task must leave no driver beside its next try
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    try:
        refuse_other_release(arguments.release)
        dataset, lake = load_dataset(arguments.dataset), lake_access(arguments)
        options = StreamOptions(
            watermark_minutes=arguments.watermark_minutes,
            lateness=arguments.lateness,
            deduplicate=arguments.deduplicate,
            reject_unknown_fields=arguments.reject_unknown_fields,
        )
        # Bronze may have records of 1 MB: by default Spark decodes 4,096 of them at a time.
        few = {"spark.sql.parquet.columnarReaderBatchSize": "128"}
        spark = open_session(f"{dataset.name}_rebuild", lake, few)
        with ended_without_executors(spark):
            rebuilt = Rebuild(spark, dataset, lake, options, arguments.run_id).run(arguments.mode)
        spark.stop()
    except MedallionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(as_json(rebuilt)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
