"""Kafka to bronze, silver, quarantine and ledger, for as long as it runs."""

from __future__ import annotations

import argparse
import logging
import os

from medallion_contracts.errors import MedallionError
from medallion_contracts.loader import load_dataset
from medallion_spark.session.lake_access import add_lake_arguments, lake_access
from medallion_spark.session.spark_session import open_session
from medallion_spark.stream.options import StreamOptions, add_verdict_arguments
from medallion_spark.stream.query import SESSION_SETTINGS, Stream
from medallion_spark.stream.source import add_kafka_arguments, kafka_access
from medallion_store.release import add_release_argument


def _parser() -> argparse.ArgumentParser:
    defaults = StreamOptions()
    parser = argparse.ArgumentParser(
        description="Judges each Kafka record of a dataset once and carries it to the lake, exactly once. "
        "Runs until <lake>/control/<dataset>/stop_request.json appears, then exits 0. Secrets are read "
        "from the file that MEDALLION_SECRETS_FILE names."
    )
    add_lake_arguments(parser)
    add_kafka_arguments(parser)
    group = parser.add_argument_group("stream")
    group.add_argument(
        "--trigger-seconds",
        type=float,
        default=defaults.trigger_seconds,
        help="time from one micro-batch to the next (default: %(default)s)",
    )
    group.add_argument(
        "--max-offsets-per-trigger",
        type=int,
        default=defaults.max_offsets_per_trigger,
        help="most records of one micro-batch; the default fits an executor of 2 GiB (default: %(default)s)",
    )
    add_verdict_arguments(group)
    group.add_argument(
        "--on-data-loss",
        choices=("fail", "count"),
        default=defaults.on_data_loss,
        help="fail: stop when the broker has lost records not yet read; count: note them in the ledger "
        "and go on (default: %(default)s)",
    )
    group.add_argument(
        "--batch-hang-minutes",
        type=float,
        default=defaults.batch_hang_minutes,
        help="minutes without a finished Spark task after which a micro-batch hangs and the driver ends "
        "itself (default: %(default)s)",
    )
    group.add_argument(
        "--recover-from-ledger",
        action="store_true",
        help="when the checkpoint is gone: complete from bronze what was under way, shut the old query "
        "out, and go on at the ledger's offsets; does nothing while there is a checkpoint",
    )
    group.add_argument(
        "--submission", help="repeated in the heartbeat, so that the submitter finds its driver"
    )
    add_release_argument(parser)
    return parser


def main() -> int:
    """Run the job; gives the exit code."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    try:
        dataset = load_dataset(arguments.dataset)
        lake, kafka = lake_access(arguments), kafka_access(arguments)
        options = StreamOptions(
            trigger_seconds=arguments.trigger_seconds,
            watermark_minutes=arguments.watermark_minutes,
            max_offsets_per_trigger=arguments.max_offsets_per_trigger,
            lateness=arguments.lateness,
            deduplicate=arguments.deduplicate,
            reject_unknown_fields=arguments.reject_unknown_fields,
            on_data_loss=arguments.on_data_loss,
            batch_hang_minutes=arguments.batch_hang_minutes,
            recover_from_ledger=arguments.recover_from_ledger,
            submission=arguments.submission,
            release=arguments.release,
        )
        spark = open_session(f"{dataset.name}_streaming", lake, SESSION_SETTINGS)
        Stream(spark, dataset, lake, kafka, options).run()
        # Only after a good end: with a batch under way, stopping would wait for it.
        spark.stop()
    except MedallionError as error:
        logging.getLogger("stream_to_silver").error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # deltalake's threads may abort an interpreter that ends in order, which looks like a crash.
    os._exit(code)
