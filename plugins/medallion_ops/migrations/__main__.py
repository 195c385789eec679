"""Entry point: bring the gold database forward by hand."""

from __future__ import annotations

import argparse
import sys

from medallion_contracts.errors import MedallionError
from medallion_contracts.loader import load_dataset
from medallion_ops.dataset_settings import add_dataset_argument
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.migrations.runner import migrate


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 when the database is as wanted, 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.migrations",
        description="Create or bring forward schemas, tables, views, roles and grants of the gold database. "
        "Safe to repeat, and safe to run twice at once. The database is that of MEDALLION_GOLD_DSN.",
        epilog="Needs a login that is medallion_writer or may act as it; the first run creates the roles and "
        "therefore needs CREATEROLE, unless an administrator made them.",
    )
    add_dataset_argument(parser)
    options = parser.parse_args(arguments)
    try:
        done = migrate(GoldSettings.from_environment().dsn, load_dataset(options.dataset))
    except MedallionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n".join(done or ["nothing to do: the database is up to date"]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
