"""`python -m medallion_ops.monitor`: one look, by hand."""

from __future__ import annotations

import logging
import sys

from medallion_contracts.errors import MedallionError
from medallion_ops.monitor.look import look
from medallion_ops.settings import Settings


def main() -> int:
    """Look once and print the problems; exit code 1 when there is one, 2 when the look failed."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        found = look(Settings.from_environment())
    except MedallionError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    for one in found:
        print(f"{one.level} {one.code} {one.dataset} {one.subject}: {one.happened}")  # noqa: T201
    print(f"{len(found)} problems" if found else "no problems")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
