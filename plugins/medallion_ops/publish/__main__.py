"""Entry point: publish a set by hand."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict

from medallion_contracts.errors import MedallionError
from medallion_contracts.loader import load_dataset
from medallion_ops.dataset_settings import add_dataset_argument
from medallion_ops.gold.publication import publish_set
from medallion_ops.gold_settings import GoldSettings


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 when the set is published (now or before), 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.publish",
        description="Publish a set of staging tables to gold in one transaction, as the gold DAG does: only "
        "when the gate passed it or a person decided so in the Airflow UI, and only onto the publication it "
        "was computed against. Doing it again changes nothing. The last line of stdout is a JSON report.",
        epilog="The database is that of MEDALLION_GOLD_DSN.",
    )
    parser.add_argument("--set-id", type=int, required=True, help="the set, see staging.manifests")
    add_dataset_argument(parser)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        dsn = GoldSettings.from_environment().dsn
        outcome = publish_set(dsn, load_dataset(options.dataset), options.set_id)
    except MedallionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
