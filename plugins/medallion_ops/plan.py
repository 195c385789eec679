"""Entry point: what a change of contracts would do, before it is done."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from medallion_contracts.errors import MedallionError, ParameterError
from medallion_contracts.loader import contract_files, dataset_names, files_in
from medallion_ops.contracts.effects import contract_plan, described
from medallion_ops.contracts.in_force import accept, plan_of_change
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.gold_settings import GoldSettings
from medallion_store.contract_store import StoredContract


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 when something breaks or cannot be compared."""
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.plan",
        description="Compares two versions of a dataset's contracts and says, table by table, what happens, "
        "what is rebuilt, and whether it breaks readers or producers: then it exits with 1.",
    )
    parser.add_argument("--dataset", action="append", choices=dataset_names(), help="default: those that run")
    parser.add_argument("--old", type=Path, help="folder; default: what gold runs on (audit.contracts)")
    parser.add_argument("--new", type=Path, help="folder; default: the contracts of this code")
    parser.add_argument(
        "--accept", action="append", default=[], metavar="NAME", help="accept a breaking change by its name"
    )
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except MedallionError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _run(options: argparse.Namespace) -> int:
    datasets = options.dataset or list(datasets_that_run())
    if (options.old or options.new or options.accept) and len(datasets) > 1:
        raise ParameterError("nothing was compared", ["--old, --new and --accept need --dataset"])
    is_breaking = False
    for dataset in datasets:
        new = StoredContract(dataset, files_in(options.new) if options.new else contract_files(dataset))
        if options.accept:
            accept(GoldSettings.from_environment().dsn, new, options.accept, getpass.getuser())
        if options.old:
            plan = contract_plan(StoredContract(dataset, files_in(options.old)), new)
        else:
            plan = plan_of_change(GoldSettings.from_environment().dsn, new)
        sys.stdout.write("\n".join(described(plan)) + "\n")
        is_breaking = is_breaking or bool(plan.breaking)
    return int(is_breaking)


if __name__ == "__main__":
    sys.exit(main())
