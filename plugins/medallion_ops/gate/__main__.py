"""Entry point of the gate: a process of its own, as importing Great Expectations costs seconds and 200 MB."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time

from medallion_contracts.errors import MedallionError, StaleStaging
from medallion_contracts.loader import load_dataset
from medallion_ops.dataset_settings import add_dataset_argument
from medallion_ops.gate.lean_import import import_lean
from medallion_ops.gold_settings import GoldSettings

EXIT_STALE = 3
"""Staging no longer is what was written: checking again cannot help, writing again does."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 with a verdict, passed or not, as the last line of stdout; 1 or 3 without."""
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.gate",
        description="Check a set of staging tables by the contract's expectations. The verdict goes to "
        "audit.gate_results and the Data Docs; the last line of stdout is a JSON summary.",
        epilog="Uses MEDALLION_GOLD_DSN and, if set, MEDALLION_DATA_DOCS_DIR. Exits 0 whenever there is a "
        'verdict, also a failing one ("passed": false); 3 when staging is not what was written, 1 for any '
        "other reason why there is no verdict.",
    )
    parser.add_argument("--set-id", type=int, required=True, help="the set, see staging.manifests")
    add_dataset_argument(parser)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("medallion_ops").setLevel(logging.INFO)
    # Its messages about failing queries quote SQL and values; the gate's own error names what failed.
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    try:
        settings = GoldSettings.from_environment()
        dataset = load_dataset(options.dataset)
        started = time.monotonic()
        import_lean()
        # Late: --help and bad settings need no Great Expectations.
        from medallion_ops.gate.audit import audit_set

        logging.getLogger("medallion_ops.gate").info("loaded in %.1f s", time.monotonic() - started)
        verdict = audit_set(settings.dsn, dataset, options.set_id, settings.data_docs_dir)
    except MedallionError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_STALE if isinstance(error, StaleStaging) else 1
    summary = {
        "set_id": verdict.set_id,
        "passed": verdict.passed,
        "expectations": len(verdict.findings),
        "failed_critical": verdict.failed_critical,
        "failed_warnings": verdict.failed_warnings,
        "can_leave_rows_out": verdict.can_leave_rows_out,
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
