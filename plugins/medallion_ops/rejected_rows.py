"""Rows that a person kept out of gold: list them, and let one in again.

`python -m medallion_ops.rejected_rows --help`
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime

from medallion_contracts.errors import MedallionError, ParameterError
from medallion_contracts.loader import load_dataset
from medallion_contracts.model import Dataset
from medallion_ops.dataset_settings import add_dataset_argument
from medallion_ops.gold_settings import GoldSettings
from medallion_store.postgres import gold_connection
from medallion_store.rejected_rows import RejectedRow, rejected_rows, release_row


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.rejected_rows",
        description="Rows kept out of gold by a decision to publish without the failing rows. "
        "The database is that of MEDALLION_GOLD_DSN.",
    )
    add_dataset_argument(parser)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the rows left out now, one JSON object a line")
    release = commands.add_parser(
        "release", help="let a row in again: the next run of the gold DAG computes its entity anew"
    )
    release.add_argument("key", help="the entity's key, as `list` shows it")
    release.add_argument("version", help="the row's event time, ISO 8601 as `list` shows it")
    release.add_argument("--by", required=True, help="who decided so; kept in audit.rejected_rows")
    options = parser.parse_args(arguments)
    try:
        dataset = load_dataset(options.dataset)
        with gold_connection(GoldSettings.from_environment().dsn) as connection:
            if options.command == "list":
                for row in rejected_rows(connection, dataset):
                    if row.in_force:
                        sys.stdout.write(json.dumps(_shown(row, dataset), default=_as_text) + "\n")
            elif not release_row(connection, dataset, options.key, _moment(options.version), options.by):
                raise MedallionError(f"no row {options.key} of {options.version} is left out: see `list`")
    except MedallionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ParameterError("the row cannot be found", [f"{text!r} is no ISO 8601 time"]) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _shown(row: RejectedRow, dataset: Dataset) -> dict[str, object]:
    return {
        dataset.key: row.key,
        dataset.event_time: row.event_time,
        "expectations": row.expectations,
        "rejected_by": row.rejected_by,
        "rejected_at": row.rejected_at,
    }


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


if __name__ == "__main__":
    sys.exit(main())
